/* SLOW_BUILD: 1 with a sanitizer, else 0; for tests that do less then, or wait longer. */
#ifndef TESTS_SUPPORT_SLOW_BUILD_H
#define TESTS_SUPPORT_SLOW_BUILD_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW_BUILD 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW_BUILD 1
#endif
#endif
#ifndef SLOW_BUILD
#define SLOW_BUILD 0
#endif

#endif
