/* Text of a recipe: UTF-8, quoting for YAML, and excerpts for messages. */
#include "recipe_keys.h"

#include <coterie/memory.h>

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* How many bytes follow a first byte; 0 also for one that cannot be first, which the caller's range
 * check refuses. */
static int following_bytes(unsigned char first)
{
    if (first >= 0xf0 && first <= 0xf4) return 3;
    if (first >= 0xe0 && first < 0xf0) return 2;
    return first >= 0xc2 && first < 0xe0 ? 1 : 0;
}

uint32_t cot_utf8_next(const char **text)
{
    static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *byte = (const unsigned char *)*text;
    int following = following_bytes(byte[0]);
    uint32_t code = following == 0 ? byte[0] : byte[0] & (0x3fu >> following);
    if (following == 0 && code >= 0x80) return COT_UTF8_INVALID;
    for (int i = 1; i <= following; i++) {
        if ((byte[i] & 0xc0) != 0x80) return COT_UTF8_INVALID;
        code = (code << 6) | (byte[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    if (code < smallest[following] || surrogate || code > 0x10ffff) return COT_UTF8_INVALID;
    *text += following + 1;
    return code;
}

/* What YAML lets stand as it is between double quotes: no controls, no line or paragraph
 * separators, no byte order mark (YAML 1.1, section 5.1). */
static bool is_printable(uint32_t code)
{
    if (code == '"' || code == '\\') return false;
    if (code < 0xa0) return code >= ' ' && code < 0x7f;
    if (code > 0x10ffff) return false;
    return code != 0x2028 && code != 0x2029 && code != 0xfeff && code != 0xfffe && code != 0xffff;
}

/* Whether a text needs no quotes: a path or word of plain characters that no YAML reader takes for
 * something else. */
static bool is_plain(const char *text)
{
    static const char *const taken[] = {"null", "true", "false", "yes", "no",
                                        "on",   "off",  "y",     "n"};
    const char *letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/";
    const char *others = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/0123456789.-";
    if (*text == '\0' || strchr(letters, *text) == NULL || text[strspn(text, others)] != '\0')
        return false;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcasecmp(text, taken[i]) == 0) return false;
    return true;
}

static void print_escaped(FILE *out, uint32_t code)
{
    if (code == '"' || code == '\\')
        fprintf(out, "\\%c", (char)code);
    else if (code == '\n')
        fputs("\\n", out);
    else if (code == '\t')
        fputs("\\t", out);
    else if (code <= 0xff)
        fprintf(out, "\\x%02X", (unsigned)code);
    else
        fprintf(out, "\\u%04X", (unsigned)code);
}

/* Memory of open_memstream is the C library's; what the recipe hands out is cot_free's. */
static char *adopt(char *text)
{
    char *copy = cot_strdup(text);
    free(text);
    return copy;
}

char *cot_recipe_quote(const char *text)
{
    if (is_plain(text)) return cot_strdup(text);
    char *quoted = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&quoted, &size);
    COT_ASSERT(out != NULL);
    fputc('"', out);
    while (*text != '\0') {
        const char *start = text;
        uint32_t code = cot_utf8_next(&text);
        COT_ASSERT(code != COT_UTF8_INVALID);
        if (is_printable(code))
            fwrite(start, 1, (size_t)(text - start), out);
        else
            print_escaped(out, code);
    }
    fputc('"', out);
    fclose(out);
    return adopt(quoted);
}

char *cot_recipe_excerpt(const char *text)
{
    enum { LONGEST = 64 };
    char excerpt[LONGEST + 4];
    size_t used = 0;
    while (*text != '\0' && used + 4 <= LONGEST) {
        const char *start = text;
        uint32_t code = cot_utf8_next(&text);
        if (code == COT_UTF8_INVALID) text++;
        if (code == '"' || code == '\\' || is_printable(code)) {
            memcpy(excerpt + used, start, (size_t)(text - start));
            used += (size_t)(text - start);
        } else {
            excerpt[used++] = '?';
        }
    }
    excerpt[used] = '\0';
    return cot_strprintf("%s%s", excerpt, *text != '\0' ? "..." : "");
}
