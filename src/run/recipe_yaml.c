/* From YAML to a recipe. libyaml's document interface keeps the line of every node. */
#include "recipe_keys.h"

#include <coterie/memory.h>

#include <string.h>
#include <yaml.h>

enum { PLACE_SIZE = 512, NAME_SIZE = 128, WHERE_SIZE = PLACE_SIZE + NAME_SIZE + 4 };

typedef struct reader {
    const char *text, *origin;
    yaml_parser_t parser;
    yaml_document_t document;
    cot_recipe *recipe;
} reader;

/* ---- text that is not YAML ---- */

static size_t line_of_offset(const char *text, size_t offset)
{
    size_t line = 1;
    for (size_t i = 0; i < offset && text[i] != '\0'; i++) line += text[i] == '\n';
    return line;
}

/* Whether the line that a problem was found on is indented with a tab, which libyaml does not say
 * in so many words. */
static bool is_indented_with_tab(const char *text, size_t line)
{
    for (size_t i = 1; i < line && text != NULL; i++) {
        text = strchr(text, '\n');
        if (text != NULL) text++;
    }
    return text != NULL && text[strspn(text, " ")] == '\t';
}

static cot_status syntax_error(const reader *r)
{
    const yaml_parser_t *parser = &r->parser;
    if (parser->error == YAML_MEMORY_ERROR) cot_abort(__FILE__, __LINE__, "out of memory");
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";
    if (parser->error == YAML_READER_ERROR)
        return cot_fail(COT_E_CONFIG, "%s:%zu: %s; a recipe is UTF-8 text", r->origin,
                        line_of_offset(r->text, parser->problem_offset), problem);
    size_t line = parser->problem_mark.line + 1;
    if (is_indented_with_tab(r->text, line))
        return cot_fail(COT_E_CONFIG, "%s:%zu: indented with a tab; YAML wants spaces", r->origin,
                        line);
    if (parser->context == NULL)
        return cot_fail(COT_E_CONFIG, "%s:%zu: not YAML: %s", r->origin, line, problem);
    return cot_fail(COT_E_CONFIG, "%s:%zu: not YAML: %s (line %zu), %s", r->origin, line,
                    parser->context, parser->context_mark.line + 1, problem);
}

/* ---- keys and values ---- */

static const char *scalar_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* A value left out, or one of YAML's ways to write null; in quotes it is text. */
static bool is_null(const yaml_node_t *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++)
        if (strcmp(scalar_text(node), nulls[i]) == 0) return true;
    return false;
}

static const char *kind_of(const yaml_node_t *node)
{
    if (node->type == YAML_SEQUENCE_NODE) return "a list";
    return node->type == YAML_MAPPING_NODE ? "a mapping" : "a single value";
}

static const yaml_node_t *node_at(const reader *r, int index)
{
    /* libyaml's accessor takes a document that is not const, but changes nothing. */
    return yaml_document_get_node((yaml_document_t *)&r->document, index);
}

static cot_status read_scalar(const cot_recipe_key *key, const yaml_node_t *value,
                              const char *where, const char **text_out)
{
    if (value->type != YAML_SCALAR_NODE)
        return cot_fail(COT_E_CONFIG, "%s: %s stands where one value belongs", where,
                        kind_of(value));
    if (is_null(value))
        return cot_fail(COT_E_CONFIG, "%s: has no value; leave the key out for its default, %s",
                        where, key->fallback[0] != '\0' ? key->fallback : "\"\"");
    if (strlen(scalar_text(value)) != value->data.scalar.length)
        return cot_fail(COT_E_CONFIG, "%s: holds a zero byte", where);
    *text_out = scalar_text(value);
    return COT_OK;
}

static cot_status read_list(const reader *r, const cot_recipe_key *key, const yaml_node_t *value,
                            const char *where)
{
    const yaml_node_item_t *first = value->data.sequence.items.start;
    size_t count = (size_t)(value->data.sequence.items.top - first);
    const char **items = cot_alloc(count, sizeof *items);
    cot_status status = COT_OK;
    for (size_t i = 0; i < count && status == COT_OK; i++)
        status = read_scalar(key, node_at(r, first[i]), where, &items[i]);
    if (status == COT_OK)
        status = cot_recipe_set_list(cot_recipe_list_of(r->recipe, key), key, count, items, where);
    cot_free(items);
    return status;
}

static cot_status read_value(const reader *r, const cot_recipe_key *key, const yaml_node_t *value,
                             const char *where)
{
    const char *text = NULL;
    if (key->type == COT_KEY_COUNTS && value->type == YAML_SEQUENCE_NODE)
        return read_list(r, key, value, where);
    COT_TRY(read_scalar(key, value, where, &text));
    return cot_recipe_set(r->recipe, key, text, where);
}

/* The line of an earlier pair of the mapping with the same key, or 0. */
static size_t earlier_line(const reader *r, const yaml_node_t *mapping,
                           const yaml_node_pair_t *pair)
{
    const char *name = scalar_text(node_at(r, pair->key));
    for (const yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *key = node_at(r, p->key);
        if (strcmp(scalar_text(key), name) == 0) return key->start_mark.line + 1;
    }
    return 0;
}

static cot_status read_section(const reader *r, const yaml_node_t *mapping, const char *section);

/* A key with its value, or a section with its keys. */
static cot_status read_entry(const reader *r, const char *place, const char *name,
                             const yaml_node_t *value)
{
    char where[WHERE_SIZE];
    snprintf(where, sizeof where, "%s: %s", place, name);
    const cot_recipe_key *key = cot_recipe_key_find(name);
    if (key != NULL) return read_value(r, key, value, where);
    if (cot_recipe_section_find(name) == NULL) return cot_recipe_unknown_key(place, name);
    if (value->type != YAML_MAPPING_NODE)
        return cot_fail(COT_E_CONFIG, "%s: %s stands where keys indented below it belong", where,
                        value->type == YAML_SCALAR_NODE && is_null(value) ? "nothing"
                                                                          : kind_of(value));
    return read_section(r, value, name);
}

static cot_status read_pair(const reader *r, const yaml_node_t *mapping,
                            const yaml_node_pair_t *pair, const char *section)
{
    const yaml_node_t *key = node_at(r, pair->key);
    char place[PLACE_SIZE];
    snprintf(place, sizeof place, "%s:%zu", r->origin, key->start_mark.line + 1);
    if (key->type != YAML_SCALAR_NODE)
        return cot_fail(COT_E_CONFIG, "%s: %s stands where a key belongs", place, kind_of(key));
    const char *word = scalar_text(key);
    if (strlen(word) != key->data.scalar.length)
        return cot_fail(COT_E_CONFIG, "%s: a key holds a zero byte", place);
    const char *dot = strchr(word, '.');
    if (dot != NULL && cot_recipe_key_find(word) != NULL)
        return cot_fail(COT_E_CONFIG,
                        "%s: '%s' is two levels here: write '%s:' indented below '%.*s:'", place,
                        word, dot + 1, (int)(dot - word), word);
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s%s%s", section, *section != '\0' ? "." : "", word);
    size_t earlier = earlier_line(r, mapping, pair);
    if (earlier != 0)
        return cot_fail(COT_E_CONFIG, "%s: %s: given twice, first on line %zu", place, name,
                        earlier);
    return read_entry(r, place, name, node_at(r, pair->value));
}

static cot_status read_section(const reader *r, const yaml_node_t *mapping, const char *section)
{
    const yaml_node_pair_t *end = mapping->data.mapping.pairs.top;
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < end; pair++)
        COT_TRY(read_pair(r, mapping, pair, section));
    return COT_OK;
}

/* ---- the document ---- */

/* A text without content is a recipe of defaults. */
static cot_status read_root(const reader *r)
{
    const yaml_node_t *root = node_at(r, 1);
    if (root == NULL) return COT_OK;
    if (root->type != YAML_MAPPING_NODE)
        return cot_fail(COT_E_CONFIG, "%s:%zu: %s stands where keys and values belong", r->origin,
                        root->start_mark.line + 1, kind_of(root));
    return read_section(r, root, "");
}

static cot_status read_document(reader *r)
{
    if (!yaml_parser_load(&r->parser, &r->document)) return syntax_error(r);
    cot_status status = read_root(r);
    yaml_document_delete(&r->document);
    return status;
}

/* A first look at the whole text: its syntax, its depth, and that it is one document. */
static cot_status look_at_event(const reader *r, const yaml_event_t *event, size_t *depth,
                                size_t *documents)
{
    enum { DEEPEST = 16 };
    size_t line = event->start_mark.line + 1;
    bool opens =
        event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
    bool closes = event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT;
    if (opens && ++*depth > DEEPEST)
        return cot_fail(COT_E_CONFIG, "%s:%zu: nests over %d levels; a recipe has two", r->origin,
                        line, DEEPEST);
    if (closes) --*depth;
    if (event->type == YAML_DOCUMENT_START_EVENT && ++*documents > 1)
        return cot_fail(COT_E_CONFIG, "%s:%zu: a second document begins here; a recipe is one",
                        r->origin, line);
    return COT_OK;
}

/* Ahead of yaml_parser_load, because that takes quadratic time for text that nests without end. */
static cot_status look_over(reader *r)
{
    size_t depth = 0;
    size_t documents = 0;
    cot_status status = COT_OK;
    for (bool at_end = false; status == COT_OK && !at_end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r->parser, &event)) return syntax_error(r);
        at_end = event.type == YAML_STREAM_END_EVENT;
        status = look_at_event(r, &event, &depth, &documents);
        yaml_event_delete(&event);
    }
    return status;
}

static cot_status with_parser(reader *r, cot_status (*step)(reader *r))
{
    if (!yaml_parser_initialize(&r->parser)) cot_abort(__FILE__, __LINE__, "out of memory");
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->text, strlen(r->text));
    cot_status status = step(r);
    yaml_parser_delete(&r->parser);
    return status;
}

cot_status cot_recipe_read_yaml(const char *text, const char *origin, cot_recipe *recipe)
{
    reader r = {.text = text, .origin = origin, .recipe = recipe};
    COT_TRY(with_parser(&r, look_over));
    return with_parser(&r, read_document);
}
