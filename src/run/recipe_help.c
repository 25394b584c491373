/* Every key of a recipe, for a terminal and as the page docs/recipe.md. */
#include "recipe_keys.h"

#include <coterie/memory.h>

#include <string.h>

enum { LINE_WIDTH = 84, INDENT = 6 };

/* ---- for a terminal ---- */

static void print_wrapped(FILE *out, const char *text)
{
    int column = 0;
    while (*text != '\0') {
        int length = (int)strcspn(text, " ");
        if (column > 0 && column + 1 + length > LINE_WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        column += fprintf(out, "%*s%.*s", column == 0 ? INDENT : 1, "", length, text);
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static const char *shown_default(const cot_recipe_key *key)
{
    return key->fallback[0] != '\0' ? key->fallback : "\"\"";
}

static void print_key(FILE *out, const cot_recipe_key *key)
{
    char *domain = cot_recipe_key_domain(key);
    fprintf(out, "  %s = %s  (%s)\n", key->name, shown_default(key), domain);
    print_wrapped(out, key->meaning);
    cot_free(domain);
}

static void print_text(FILE *out)
{
    fputs("A recipe is a YAML file; what it leaves out has the default shown here after '='.\n"
          "Keys nest: 'model.experts' is 'experts:' indented below 'model:'.\n"
          "On the command line: --set model.experts=64, as often as needed; the last one wins.\n",
          out);
    const cot_recipe_section *open_section = NULL;
    for (size_t i = 0; i < cot_recipe_key_count; i++) {
        const cot_recipe_section *section = cot_recipe_section_of(&cot_recipe_keys[i]);
        if (section != open_section) fprintf(out, "\n%s: %s\n", section->name, section->meaning);
        if (section == NULL) fputc('\n', out);
        open_section = section;
        print_key(out, &cot_recipe_keys[i]);
    }
}

/* ---- for the documentation ---- */

static const char introduction[] =
    "# The recipe\n"
    "\n"
    "A recipe says everything about a run: the model, the data, how it is trained and where the "
    "results\n"
    "go. It is a YAML file, as in\n"
    "\n"
    "```yaml\n"
    "model:\n"
    "  experts: 16\n"
    "  expert_hidden_total: 784\n"
    "data:\n"
    "  source: idx\n"
    "  path: data/mnist\n"
    "```\n"
    "\n"
    "A key that a recipe leaves out has its default. `coterie train RECIPE --set model.experts=64` "
    "sets one\n"
    "key for one run, as often as needed; the last one wins. The run folder gets a copy with every "
    "key as\n"
    "it was used, `recipe.yaml`, and a checkpoint carries one too.\n"
    "\n"
    "An unknown or repeated key, a number that does not parse to its end or lies outside its "
    "range, and\n"
    "keys that contradict each other are errors, with the key and, but for contradictions, the "
    "line.\n"
    "Numbers are decimal, without signs or leading zeros where they are whole; switches are `true` "
    "and\n"
    "`false`, not `yes` or `on`. A list is `[2, 4, 8]`, on the command line also `2,4,8`, and `[]` "
    "where it\n"
    "is empty. Relative paths start at the folder that the program is run in, not at the "
    "recipe's.\n"
    "\n"
    "This page is printed by `coterie help recipe --markdown`.\n";

static void print_code_words(FILE *out, const cot_recipe_key *key)
{
    for (size_t i = 0; key->words[i] != NULL; i++)
        fprintf(out, "%s`%s`", i > 0 ? ", " : "", key->words[i]);
}

static void print_row(FILE *out, const cot_recipe_key *key)
{
    char *domain = cot_recipe_key_domain(key);
    fprintf(out, "| `%s` | ", key->name);
    if (key->type == COT_KEY_ENUM)
        print_code_words(out, key);
    else
        fputs(key->type == COT_KEY_BOOL ? "`true`, `false`" : domain, out);
    fprintf(out, " | `%s` | %s |\n", shown_default(key), key->meaning);
    cot_free(domain);
}

static void print_heading(FILE *out, const cot_recipe_section *section)
{
    if (section != NULL) fprintf(out, "\n## %s: %s\n", section->name, section->meaning);
    fputs("\n| key | values | default | meaning |\n|---|---|---|---|\n", out);
}

static void print_keys_with(FILE *out, unsigned flag)
{
    const char *separator = "";
    for (size_t i = 0; i < cot_recipe_key_count; i++) {
        if (!(cot_recipe_keys[i].flags & flag)) continue;
        fprintf(out, "%s`%s`", separator, cot_recipe_keys[i].name);
        separator = ", ";
    }
}

static void print_resuming(FILE *out)
{
    fputs("\n## Resuming under another recipe\n\n"
          "A resumed run warns of each key that differs from the checkpoint's copy, except for "
          "those that change\n"
          "nothing that a step computes:\n",
          out);
    print_keys_with(out, COT_KEY_NEUTRAL);
    fputs(".\nUnless the schedule is a cosine, which ends where the run ends, these count among "
          "them:\n",
          out);
    print_keys_with(out, COT_KEY_LENGTH);
    fputs(
        ".\nThe copy in a checkpoint leaves out where the run lived and what was done beside it:\n",
        out);
    print_keys_with(out, COT_KEY_LOCAL);
    fputs(".\n", out);
}

static void print_markdown(FILE *out)
{
    fputs(introduction, out);
    const cot_recipe_section *open_section = NULL;
    for (size_t i = 0; i < cot_recipe_key_count; i++) {
        const cot_recipe_section *section = cot_recipe_section_of(&cot_recipe_keys[i]);
        if (i == 0 || section != open_section) print_heading(out, section);
        open_section = section;
        print_row(out, &cot_recipe_keys[i]);
    }
    print_resuming(out);
}

void cot_recipe_help(FILE *out, bool markdown)
{
    if (markdown)
        print_markdown(out);
    else
        print_text(out);
}
