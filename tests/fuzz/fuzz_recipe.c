/* Any text is refused with one line, or gives a recipe that survives printing. The input is YAML up
 * to the first zero byte, and after it overrides, each up to the next one. */
#include <coterie/memory.h>
#include <coterie/recipe.h>

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_OVERRIDES = 8 };

static size_t split_overrides(const char *text, size_t size, cot_override overrides[MOST_OVERRIDES])
{
    size_t count = 0;
    for (size_t at = strlen(text) + 1; at < size && count < MOST_OVERRIDES;
         at += strlen(text + at) + 1)
        overrides[count++] = text + at;
    return count;
}

static void check_failure(void)
{
    COT_ASSERT(cot_failure() != NULL && cot_failure()[0] != '\0');
    COT_ASSERT(strchr(cot_failure(), '\n') == NULL);
    cot_failure_clear();
}

static void check_round_trip(const cot_recipe *recipe)
{
    cot_recipe *again = NULL;
    char *text = cot_recipe_print(recipe, false);
    COT_ASSERT(cot_recipe_parse(text, "printed", 0, NULL, &again) == COT_OK);
    char *text_again = cot_recipe_print(again, false);
    COT_ASSERT(strcmp(text, text_again) == 0);
    cot_free(text_again);
    cot_recipe_destroy(&again);
    cot_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = cot_alloc(size + 1, 1);
    if (size > 0) memcpy(text, data, size);
    cot_override overrides[MOST_OVERRIDES];
    size_t count = split_overrides(text, size, overrides);
    cot_recipe *recipe = NULL;
    cot_status status = cot_recipe_parse(text, "fuzz", count, overrides, &recipe);
    if (status == COT_OK)
        check_round_trip(recipe);
    else
        check_failure();
    cot_recipe_destroy(&recipe);
    cot_free(text);
    COT_ASSERT(cot_alloc_balance() == 0);
    return 0;
}
