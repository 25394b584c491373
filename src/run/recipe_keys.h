/** The table of recipe keys and what is done with one of its entries. Private to the recipe's
 * files. */
#ifndef COTERIE_RECIPE_KEYS_H
#define COTERIE_RECIPE_KEYS_H

#include <coterie/recipe.h>

typedef enum cot_key_type {
    COT_KEY_UNSIGNED, /**< uint64_t or size_t */
    COT_KEY_REAL,     /**< double */
    COT_KEY_BOOL,
    COT_KEY_ENUM,   /**< any enumeration counted from 0 */
    COT_KEY_STRING, /**< const char *, allocated */
    COT_KEY_COUNTS  /**< cot_counts, allocated */
} cot_key_type;

enum {
    /** Says where a run lives, or what is done beside it: not part of the portable recipe. */
    COT_KEY_LOCAL = 1,
    COT_KEY_NEUTRAL = 2, /**< changes nothing that a step computes: not compared */
    COT_KEY_LENGTH = 4 /**< how long a run is: compared only where the schedule stretches with it */
};

typedef struct cot_recipe_key {
    const char *name;         /**< "model.experts"; the part before the dot is the section */
    const char *meaning;      /**< one sentence, with the unit */
    size_t offset;            /**< of the value in cot_recipe */
    const char *fallback;     /**< default, as one would write it in a recipe */
    uint64_t least, most;     /**< unsigned, counts: smallest and largest value; string: bytes */
    double low, high;         /**< real: ends of the range ... */
    bool low_open, high_open; /**< ... which belong to it unless open */
    cot_key_type type;
    const char *const *words; /**< enumeration: word by value, NULL at the end */
    unsigned flags;
} cot_recipe_key;

typedef struct cot_recipe_section {
    const char *name, *meaning;
} cot_recipe_section;

/** In the order of printing; the keys of a section stand together. */
extern const cot_recipe_key cot_recipe_keys[];
extern const size_t cot_recipe_key_count;
extern const cot_recipe_section cot_recipe_sections[];
extern const size_t cot_recipe_section_count;

/** The key or section of that name, or NULL. */
const cot_recipe_key *cot_recipe_key_find(const char *name);
const cot_recipe_section *cot_recipe_section_find(const char *name);

/** The section that a key stands in, or NULL for a key without one. */
const cot_recipe_section *cot_recipe_section_of(const cot_recipe_key *key);

/** The key's name without its section. */
const char *cot_recipe_key_word(const cot_recipe_key *key);

/** Fail with "where: unknown key 'name'" and the key or section that was probably meant. */
cot_status cot_recipe_unknown_key(const char *where, const char *name);

/** Set one value from its text. `where` begins the message. Errors: COT_E_CONFIG. */
COT_MUST_CHECK cot_status cot_recipe_set(cot_recipe *recipe, const cot_recipe_key *key,
                                         const char *text, const char *where);

/** Read a whole number within the key's range. Errors: COT_E_CONFIG. */
COT_MUST_CHECK cot_status cot_recipe_parse_unsigned(const cot_recipe_key *key, const char *text,
                                                    const char *where, uint64_t *value_out);

/** Set a list from its items, or from its text: "[2, 4]", "2,4", "[]". No number may stand in it
 * twice. Errors: COT_E_CONFIG. */
COT_MUST_CHECK cot_status cot_recipe_set_list(cot_counts *field, const cot_recipe_key *key,
                                              size_t count, const char *const *items,
                                              const char *where);
COT_MUST_CHECK cot_status cot_recipe_set_list_text(cot_counts *field, const cot_recipe_key *key,
                                                   const char *text, const char *where);
void cot_recipe_free_list(cot_counts *list);

/** "[2, 4]" (allocated). */
char *cot_recipe_list_text(const cot_counts *list);

/** The list that a key of that type holds. */
cot_counts *cot_recipe_list_of(cot_recipe *recipe, const cot_recipe_key *key);

/** A value as YAML (allocated), reading back to the same value. */
char *cot_recipe_value(const cot_recipe *recipe, const cot_recipe_key *key);

/** The values that a key takes, "whole number from 1 to 1000000" (allocated). */
char *cot_recipe_key_domain(const cot_recipe_key *key);

/** Not a character: what cot_utf8_next returns for bytes that are not UTF-8. */
#define COT_UTF8_INVALID UINT32_MAX

/** The character at *text, which is moved past it; *text stays where the bytes are not UTF-8. */
uint32_t cot_utf8_next(const char **text);

/** UTF-8 text as a YAML scalar on one line, in double quotes where it needs them (allocated). */
char *cot_recipe_quote(const char *text);

/** `text` cut to a length and a character set that suit a message of one line (allocated). */
char *cot_recipe_excerpt(const char *text);

/** Set what YAML text says. Errors: COT_E_CONFIG with origin and line. */
COT_MUST_CHECK cot_status cot_recipe_read_yaml(const char *text, const char *origin,
                                               cot_recipe *recipe);

/** Check what no key can be checked for alone. Errors: COT_E_CONFIG with origin and the keys. */
COT_MUST_CHECK cot_status cot_recipe_check(const cot_recipe *recipe, const char *origin);

#endif
