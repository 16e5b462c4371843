/* Runs a fuzz target over every file of the folders given: corpora as ordinary tests. */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    fseek(f, 0, SEEK_END);
    const long size = ftell(f);
    rewind(f);
    uint8_t *data = size >= 0 ? malloc(size ? (size_t)size : 1) : NULL;
    const int good = data && fread(data, 1, (size_t)size, f) == (size_t)size;
    fclose(f);
    if (good)
        LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    return good ? 0 : -1;
}

/* Files that were run; -1 on failure. */
static int replay_folder(const char *folder)
{
    int n = 0;
    DIR *d = opendir(folder);
    if (!d)
        return -1;
    for (const struct dirent *e = readdir(d); e && n >= 0; e = readdir(d)) {
        char path[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        printf("%s\n", e->d_name);
        fflush(stdout); /* the last name printed is the one that trapped */
        n = replay_file(path) == 0 ? n + 1 : -1;
    }
    closedir(d);
    return n;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const int n = replay_folder(argv[i]);
        printf("%s: %d files\n", argv[i], n);
        if (n < 1)
            return 1;
    }
    return argc < 2;
}
