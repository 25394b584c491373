/* Lists of whole numbers: from text or from the items of a YAML sequence, and back to text. */
#include "recipe_keys.h"

#include <coterie/memory.h>

#include <stdlib.h>
#include <string.h>

enum { MOST_ITEMS = 1000 };

void cot_recipe_free_list(cot_counts *list)
{
    cot_free(list->values);
    *list = (cot_counts){0};
}

/* A number that stands twice would be a run or a subset size made twice. */
static cot_status add_item(cot_counts *list, const cot_recipe_key *key, const char *text,
                           const char *where)
{
    uint64_t value = 0;
    COT_TRY(cot_recipe_parse_unsigned(key, text, where, &value));
    for (size_t i = 0; i < list->count; i++)
        if (list->values[i] == value)
            return cot_fail(COT_E_CONFIG, "%s: %llu stands in the list twice", where,
                            (unsigned long long)value);
    list->values[list->count++] = value;
    return COT_OK;
}

cot_status cot_recipe_set_list(cot_counts *field, const cot_recipe_key *key, size_t count,
                               const char *const *items, const char *where)
{
    if (count > MOST_ITEMS)
        return cot_fail(COT_E_CONFIG, "%s: a list of %zu numbers; %d are the most", where, count,
                        MOST_ITEMS);
    cot_counts list = {.values = count > 0 ? cot_alloc(count, sizeof *list.values) : NULL};
    cot_status status = COT_OK;
    for (size_t i = 0; i < count && status == COT_OK; i++)
        status = add_item(&list, key, items[i], where);
    if (status != COT_OK) {
        cot_recipe_free_list(&list);
        return status;
    }
    cot_recipe_free_list(field);
    *field = list;
    return COT_OK;
}

/* Take the space from both ends of a text, in place. */
static char *trim(char *text)
{
    static const char space[] = " \t";
    text += strspn(text, space);
    for (size_t length = strlen(text); length > 0 && strchr(space, text[length - 1]) != NULL;)
        text[--length] = '\0';
    return text;
}

/* Cut a text at its commas, in place; items [commas + 1]. */
static size_t cut(char *text, const char **items)
{
    size_t count = 0;
    for (char *rest = text; rest != NULL;) {
        char *item = rest;
        rest = strchr(rest, ',');
        if (rest != NULL) *rest++ = '\0';
        items[count++] = trim(item);
    }
    return count;
}

/* Within brackets, nothing is the empty list. */
cot_status cot_recipe_set_list_text(cot_counts *field, const cot_recipe_key *key, const char *text,
                                    const char *where)
{
    char *copy = cot_strdup(text);
    char *inside = trim(copy);
    size_t length = strlen(inside);
    bool bracketed = length >= 2 && inside[0] == '[' && inside[length - 1] == ']';
    if (bracketed) {
        inside[length - 1] = '\0';
        inside = trim(inside + 1);
    }
    size_t commas = 0;
    for (const char *c = inside; *c != '\0'; c++) commas += *c == ',';
    const char **items = cot_alloc(commas + 1, sizeof *items);
    size_t count = bracketed && *inside == '\0' ? 0 : cut(inside, items);
    cot_status status = cot_recipe_set_list(field, key, count, items, where);
    cot_free(items);
    cot_free(copy);
    return status;
}

char *cot_recipe_list_text(const cot_counts *list)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    COT_ASSERT(out != NULL);
    fputc('[', out);
    for (size_t i = 0; i < list->count; i++)
        fprintf(out, "%s%llu", i > 0 ? ", " : "", (unsigned long long)list->values[i]);
    fputc(']', out);
    fclose(out);
    char *copy = cot_strdup(text);
    free(text);
    return copy;
}
