#include "recipe_keys.h"

#include <coterie/memory.h>
#include <coterie/recipe.h>

#include <stdlib.h>
#include <string.h>

/* ---- parsing ---- */

static cot_recipe *create_default(void)
{
    cot_recipe *recipe = cot_alloc(1, sizeof *recipe);
    for (size_t i = 0; i < cot_recipe_key_count; i++) {
        const cot_recipe_key *key = &cot_recipe_keys[i];
        COT_ASSERT(cot_recipe_set(recipe, key, key->fallback, key->name) == COT_OK);
    }
    return recipe;
}

static cot_status apply_override(cot_recipe *recipe, const char *override)
{
    char *excerpt = cot_recipe_excerpt(override);
    char *where = cot_strprintf("--set %s", excerpt);
    const char *equals = strchr(override, '=');
    size_t length = equals != NULL ? (size_t)(equals - override) : 0;
    char *name = cot_strprintf("%.*s", (int)length, override);
    const cot_recipe_key *key = cot_recipe_key_find(name);
    cot_status status = COT_OK;
    if (length == 0)
        status = cot_fail(COT_E_CONFIG, "%s: wants key=value, as in --set model.experts=64", where);
    else if (key == NULL)
        status = cot_recipe_unknown_key(where, name);
    else
        status = cot_recipe_set(recipe, key, equals + 1, where);
    cot_free(name);
    cot_free(where);
    cot_free(excerpt);
    return status;
}

static cot_status fill(cot_recipe *recipe, const char *text, const char *origin,
                       size_t override_count, const cot_override *overrides)
{
    COT_TRY(cot_recipe_read_yaml(text, origin, recipe));
    for (size_t i = 0; i < override_count; i++) COT_TRY(apply_override(recipe, overrides[i]));
    return cot_recipe_check(recipe, origin);
}

cot_status cot_recipe_parse(const char *text, const char *origin, size_t override_count,
                            const cot_override *overrides, cot_recipe **recipe_out)
{
    cot_recipe *recipe = create_default();
    cot_status status = fill(recipe, text, origin, override_count, overrides);
    if (status != COT_OK)
        cot_recipe_destroy(&recipe);
    else
        *recipe_out = recipe;
    return status;
}

void cot_recipe_destroy(cot_recipe **recipe)
{
    if (*recipe == NULL) return;
    for (size_t i = 0; i < cot_recipe_key_count; i++) {
        const cot_recipe_key *key = &cot_recipe_keys[i];
        if (key->type == COT_KEY_STRING) cot_free(*(char **)((char *)*recipe + key->offset));
        if (key->type == COT_KEY_COUNTS) cot_recipe_free_list(cot_recipe_list_of(*recipe, key));
    }
    cot_free(*recipe);
    *recipe = NULL;
}

/* ---- printing and comparing ---- */

char *cot_recipe_print(const cot_recipe *recipe, bool portable)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    COT_ASSERT(out != NULL);
    const cot_recipe_section *open_section = NULL;
    for (size_t i = 0; i < cot_recipe_key_count; i++) {
        const cot_recipe_key *key = &cot_recipe_keys[i];
        if (portable && (key->flags & COT_KEY_LOCAL)) continue;
        const cot_recipe_section *section = cot_recipe_section_of(key);
        if (section != NULL && section != open_section) fprintf(out, "%s:\n", section->name);
        open_section = section;
        char *value = cot_recipe_value(recipe, key);
        fprintf(out, "%s%s: %s\n", section != NULL ? "  " : "", cot_recipe_key_word(key), value);
        cot_free(value);
    }
    fclose(out);
    char *copy = cot_strdup(text);
    free(text);
    return copy;
}

/* A cosine ends where the run ends, so there the length of the run changes every step of it. */
static bool is_compared(const cot_recipe_key *key, const cot_recipe *before, const cot_recipe *now)
{
    if (key->flags & (COT_KEY_LOCAL | COT_KEY_NEUTRAL)) return false;
    bool stretches = before->schedule.kind == COT_COSINE || now->schedule.kind == COT_COSINE;
    return !(key->flags & COT_KEY_LENGTH) || stretches;
}

void cot_recipe_compare(const cot_recipe *before, const cot_recipe *now,
                        void (*differs)(void *context, const char *line), void *context)
{
    for (size_t i = 0; i < cot_recipe_key_count; i++) {
        const cot_recipe_key *key = &cot_recipe_keys[i];
        if (!is_compared(key, before, now)) continue;
        char *old_value = cot_recipe_value(before, key);
        char *new_value = cot_recipe_value(now, key);
        if (strcmp(old_value, new_value) != 0) {
            char *line = cot_strprintf("%s: %s -> %s", key->name, old_value, new_value);
            differs(context, line);
            cot_free(line);
        }
        cot_free(new_value);
        cot_free(old_value);
    }
}
