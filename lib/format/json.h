/*
 * JSON (RFC 8259, strict) behind a small read-only interface: bounded size and depth, duplicate
 * keys refused, all memory from the given allocator. Values are borrowed from the document. Absent
 * and wrong-typed values are told apart by the getters' results.
 */
#ifndef SAMBA_FORMAT_JSON_H
#define SAMBA_FORMAT_JSON_H

#include "base/error.h"
#include <stdbool.h>

typedef struct samba__json_doc samba__json_doc;
typedef struct samba__json samba__json; /* a value */

/* `what` names the text in messages ("config.json"). Depth at most 64. */
samba_status samba__json_parse(const samba_allocator *a, const char *text, size_t size,
                               const char *what, samba__json_doc **doc, samba_error **error);
void samba__json_free(samba__json_doc *doc); /* accepts NULL */
const samba__json *samba__json_root(const samba__json_doc *doc);

/* Every function accepts v == NULL and then answers as for an absent value. */
bool samba__json_is_object(const samba__json *v);
bool samba__json_is_array(const samba__json *v);
bool samba__json_is_null(const samba__json *v); /* null or absent */
const samba__json *samba__json_get(const samba__json *object, const char *key);
size_t samba__json_size(const samba__json *array_or_object);
const samba__json *samba__json_at(const samba__json *array, size_t i);
/* Type-checked; a real with an integral value converts to int, an int to double. */
bool samba__json_int(const samba__json *v, int64_t *out);
bool samba__json_double(const samba__json *v, double *out);
bool samba__json_bool(const samba__json *v, bool *out);
/* UTF-8, zero-terminated; may hold zero bytes inside (size tells). */
bool samba__json_string(const samba__json *v, const char **out, size_t *size);
/* Iterates an object's members in file order: start with NULL. */
const void *samba__json_next(const samba__json *object, const void *iterator, const char **key,
                             const samba__json **value);

#endif
