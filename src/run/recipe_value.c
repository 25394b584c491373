/* One value of a recipe: from text, and back to text. */
#include "recipe_keys.h"

#include <coterie/memory.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *field_of(cot_recipe *recipe, const cot_recipe_key *key)
{
    return (char *)recipe + key->offset;
}

static const void *const_field_of(const cot_recipe *recipe, const cot_recipe_key *key)
{
    return (const char *)recipe + key->offset;
}

cot_counts *cot_recipe_list_of(cot_recipe *recipe, const cot_recipe_key *key)
{
    COT_ASSERT(key->type == COT_KEY_COUNTS);
    return field_of(recipe, key);
}

/* ---- from text ---- */

static char *unsigned_domain(const cot_recipe_key *key);

static cot_status refuse(const cot_recipe_key *key, const char *text, const char *where)
{
    char *excerpt = cot_recipe_excerpt(text);
    bool list = key->type == COT_KEY_COUNTS; /* refused is one number of it */
    char *domain = list ? unsigned_domain(key) : cot_recipe_key_domain(key);
    if (key->type == COT_KEY_BOOL)
        cot_fail(COT_E_CONFIG, "%s: '%s' is neither true nor false", where, excerpt);
    else if (key->type == COT_KEY_ENUM)
        cot_fail(COT_E_CONFIG, "%s: '%s' is none of: %s", where, excerpt, domain);
    else
        cot_fail(COT_E_CONFIG, "%s: '%s' is not a %s", where, excerpt, domain);
    cot_free(domain);
    cot_free(excerpt);
    return COT_E_CONFIG;
}

/* Digits only, and no leading zero: YAML 1.1 reads 010 as eight. */
static bool is_whole_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && text[digits] == '\0' && (text[0] != '0' || digits == 1);
}

cot_status cot_recipe_parse_unsigned(const cot_recipe_key *key, const char *text, const char *where,
                                     uint64_t *value_out)
{
    bool negative = text[0] == '-' && is_whole_number(text + 1);
    if (!negative && !is_whole_number(text)) return refuse(key, text, where);
    errno = 0;
    uint64_t value = negative ? 0 : strtoull(text, NULL, 10);
    char *excerpt = cot_recipe_excerpt(text);
    cot_status status = COT_OK;
    if (negative || value < key->least)
        status = cot_fail(COT_E_CONFIG, "%s: %s is below %llu", where, excerpt,
                          (unsigned long long)key->least);
    else if (errno == ERANGE || value > key->most)
        status = cot_fail(COT_E_CONFIG, "%s: %s is above %llu", where, excerpt,
                          (unsigned long long)key->most);
    else
        *value_out = value;
    cot_free(excerpt);
    return status;
}

/* What strtod takes, without hexadecimal digits, "inf", "nan" and leading space. */
static bool is_number(const char *text)
{
    const char *digits = "0123456789";
    if (*text == '-' || *text == '+') text++;
    size_t whole = strspn(text, digits);
    text += whole;
    size_t fraction = 0;
    if (*text == '.') {
        fraction = strspn(++text, digits);
        text += fraction;
    }
    if (whole + fraction == 0) return false;
    if (*text != 'e' && *text != 'E') return *text == '\0';
    text++;
    if (*text == '-' || *text == '+') text++;
    return *text != '\0' && text[strspn(text, digits)] == '\0';
}

static cot_status set_real(double *field, const cot_recipe_key *key, const char *text,
                           const char *where)
{
    if (!is_number(text)) return refuse(key, text, where);
    errno = 0;
    double value = strtod(text, NULL);
    bool above = key->low_open ? value > key->low : value >= key->low;
    bool below = key->high_open ? value < key->high : value <= key->high;
    if (errno == ERANGE || !isfinite(value) || !above || !below) return refuse(key, text, where);
    *field = value;
    return COT_OK;
}

static cot_status set_bool(bool *field, const cot_recipe_key *key, const char *text,
                           const char *where)
{
    bool value = strcmp(text, "true") == 0;
    if (!value && strcmp(text, "false") != 0) return refuse(key, text, where);
    *field = value;
    return COT_OK;
}

static cot_status set_enum(void *field, const cot_recipe_key *key, const char *text,
                           const char *where)
{
    for (unsigned int i = 0; key->words[i] != NULL; i++) {
        if (strcmp(key->words[i], text) != 0) continue;
        memcpy(field, &i, sizeof i);
        return COT_OK;
    }
    return refuse(key, text, where);
}

static cot_status set_string(const char **field, const cot_recipe_key *key, const char *text,
                             const char *where)
{
    size_t bytes = strlen(text);
    if (bytes < key->least) return cot_fail(COT_E_CONFIG, "%s: is empty; give a text", where);
    if (bytes > key->most)
        return cot_fail(COT_E_CONFIG, "%s: has %zu bytes, more than %llu", where, bytes,
                        (unsigned long long)key->most);
    for (const char *rest = text; *rest != '\0';)
        if (cot_utf8_next(&rest) == COT_UTF8_INVALID)
            return cot_fail(COT_E_CONFIG, "%s: is not UTF-8 text", where);
    char *copy = cot_strdup(text);
    cot_free((void *)*field);
    *field = copy;
    return COT_OK;
}

cot_status cot_recipe_set(cot_recipe *recipe, const cot_recipe_key *key, const char *text,
                          const char *where)
{
    void *field = field_of(recipe, key);
    switch (key->type) {
    case COT_KEY_UNSIGNED:
        return cot_recipe_parse_unsigned(key, text, where, field);
    case COT_KEY_REAL:
        return set_real(field, key, text, where);
    case COT_KEY_BOOL:
        return set_bool(field, key, text, where);
    case COT_KEY_ENUM:
        return set_enum(field, key, text, where);
    case COT_KEY_STRING:
        return set_string(field, key, text, where);
    case COT_KEY_COUNTS:
        return cot_recipe_set_list_text(field, key, text, where);
    }
    cot_abort(__FILE__, __LINE__, "%s has no type", key->name);
}

/* ---- to text ---- */

enum { REAL_TEXT = 40 };

/* The fewest digits that read back to the same double. A number of up to 15 digits survives the way
 * to double and back, so 15 digits without trailing zeros are the fewest whenever they suffice. */
static void print_real(double value, char text[REAL_TEXT])
{
    enum { ALWAYS_EXACT = 17, SURVIVE = 15 };
    for (int digits = SURVIVE; digits <= ALWAYS_EXACT; digits++) {
        snprintf(text, REAL_TEXT, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    /* Readers of YAML 1.1, Python's among them, take 1e-08 for a string, but 1.0e-08 for a
     * number. */
    char *exponent = strchr(text, 'e');
    if (exponent == NULL || strchr(text, '.') != NULL) return;
    memmove(exponent + 2, exponent, strlen(exponent) + 1);
    exponent[0] = '.';
    exponent[1] = '0';
}

char *cot_recipe_value(const cot_recipe *recipe, const cot_recipe_key *key)
{
    const void *field = const_field_of(recipe, key);
    char text[REAL_TEXT];
    unsigned int word = 0;
    switch (key->type) {
    case COT_KEY_UNSIGNED:
        return cot_strprintf("%llu", (unsigned long long)*(const uint64_t *)field);
    case COT_KEY_REAL:
        print_real(*(const double *)field, text);
        return cot_strdup(text);
    case COT_KEY_BOOL:
        return cot_strdup(*(const bool *)field ? "true" : "false");
    case COT_KEY_ENUM:
        memcpy(&word, field, sizeof word);
        return cot_strdup(key->words[word]);
    case COT_KEY_STRING:
        return cot_recipe_quote(*(const char *const *)field);
    case COT_KEY_COUNTS:
        return cot_recipe_list_text(field);
    }
    cot_abort(__FILE__, __LINE__, "%s has no type", key->name);
}

/* The general limits read better as the powers that they are. */
static char *unsigned_domain(const cot_recipe_key *key)
{
    if (key->most == UINT64_MAX) return cot_strdup("whole number below 2^64");
    int exponent = 0;
    uint64_t most = key->most;
    for (; most > 0 && most % 10 == 0; most /= 10) exponent++;
    if (most == 1 && exponent >= 6)
        return cot_strprintf("whole number from %llu to 10^%d", (unsigned long long)key->least,
                             exponent);
    return cot_strprintf("whole number from %llu to %llu", (unsigned long long)key->least,
                         (unsigned long long)key->most);
}

static char *real_domain(const cot_recipe_key *key)
{
    if (isfinite(key->low) && isfinite(key->high))
        return cot_strprintf("number in %c%g, %g%c", key->low_open ? '(' : '[', key->low, key->high,
                             key->high_open ? ')' : ']');
    if (isfinite(key->low))
        return cot_strprintf("number %s %g", key->low_open ? "above" : "of at least", key->low);
    return cot_strdup("number");
}

static char *enum_domain(const cot_recipe_key *key)
{
    char *list = cot_strdup(key->words[0]);
    for (size_t i = 1; key->words[i] != NULL; i++) {
        char *longer = cot_strprintf("%s, %s", list, key->words[i]);
        cot_free(list);
        list = longer;
    }
    return list;
}

static char *list_domain(const cot_recipe_key *key)
{
    char *item = unsigned_domain(key);
    char *list = cot_strprintf("list, each a %s", item);
    cot_free(item);
    return list;
}

char *cot_recipe_key_domain(const cot_recipe_key *key)
{
    switch (key->type) {
    case COT_KEY_UNSIGNED:
        return unsigned_domain(key);
    case COT_KEY_REAL:
        return real_domain(key);
    case COT_KEY_BOOL:
        return cot_strdup("true, false");
    case COT_KEY_ENUM:
        return enum_domain(key);
    case COT_KEY_STRING:
        return cot_strdup("text");
    case COT_KEY_COUNTS:
        return list_domain(key);
    }
    cot_abort(__FILE__, __LINE__, "%s has no type", key->name);
}
