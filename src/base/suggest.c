#include <coterie/suggest.h>

#include <string.h>

enum { LONGEST_WORD = 63, CHARACTERS_AN_EDIT = 3 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t cot_edit_distance(const char *a, const char *b)
{
    size_t m = strlen(a);
    size_t n = strlen(b);
    if (m > LONGEST_WORD || n > LONGEST_WORD) return m + n;
    /* distance[i][j] is that of the first i characters of a from the first j of b. */
    unsigned char distance[LONGEST_WORD + 1][LONGEST_WORD + 1];
    for (size_t i = 0; i <= m; i++) distance[i][0] = (unsigned char)i;
    for (size_t j = 0; j <= n; j++) distance[0][j] = (unsigned char)j;
    for (size_t i = 1; i <= m; i++) {
        for (size_t j = 1; j <= n; j++) {
            size_t best = smaller(distance[i - 1][j], distance[i][j - 1]) + 1u;
            best = smaller(best, distance[i - 1][j - 1] + (size_t)(a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = smaller(best, distance[i - 2][j - 2] + 1u);
            distance[i][j] = (unsigned char)best;
        }
    }
    return distance[m][n];
}

const char *cot_nearest(const char *word, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    size_t shortest = strlen(word) / CHARACTERS_AN_EDIT + 1;
    for (size_t i = 0; i < count; i++) {
        size_t distance = cot_edit_distance(word, names[i]);
        if (distance >= shortest) continue;
        shortest = distance;
        nearest = names[i];
    }
    return nearest;
}
