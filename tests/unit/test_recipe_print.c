/* A recipe printed, compared and explained. */
#include "run/recipe_keys.h"
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/rng.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Valid together, and none of them a default. Missing are model.kind, which has one value,
 * model.expert_hidden, which excludes the total, and loss.label_smoothing, which excludes the loss;
 * `opposite` has the latter two. */
static const cot_override others[] = {"seed=18446744073709551615",
                                      "model.patch_height=7",
                                      "model.patch_width=4",
                                      "model.embed=12",
                                      "model.embed_bias=true",
                                      "model.layers=2",
                                      "model.residual=true",
                                      "model.experts=13",
                                      "model.slots=3",
                                      "model.expert_hidden_total=100",
                                      "model.activation=gelu",
                                      "model.expert_bias=true",
                                      "model.pool=mean",
                                      "model.head_bias=true",
                                      "router.normalize=none",
                                      "router.init=zeros",
                                      "router.freeze=true",
                                      "router.uniform_dispatch=true",
                                      "router.uniform_combine=true",
                                      "router.noise=0.1",
                                      "loss.kind=mean_squared_error",
                                      "data.source=l2norm",
                                      "data.path=a: b",
                                      "data.seed=5",
                                      "data.train_samples=100",
                                      "data.test_samples=10",
                                      "data.validation=9",
                                      "data.mean=-0.1",
                                      "data.deviation=1e-9",
                                      "data.tokens=5",
                                      "data.width=6",
                                      "optimizer.kind=sgd",
                                      "optimizer.learning_rate=0.3333333333",
                                      "optimizer.momentum=0.9",
                                      "optimizer.beta1=0.5",
                                      "optimizer.beta2=0.25",
                                      "optimizer.epsilon=1e-30",
                                      "optimizer.weight_decay=1e22",
                                      "optimizer.clip_norm=1",
                                      "schedule.kind=cosine",
                                      "schedule.warmup_steps=3",
                                      "schedule.final=1",
                                      "schedule.every=4",
                                      "schedule.factor=1",
                                      "train.batch=100",
                                      "train.accumulate=2",
                                      "train.activations=recompute",
                                      "train.epochs=20",
                                      "train.steps=30",
                                      "train.shuffle=false",
                                      "train.drop_last=true",
                                      "train.eval_every=2",
                                      "parallel.grains=16",
                                      "parallel.reproducible=false",
                                      "parallel.expert_replicas=2",
                                      "parallel.exchange=tokens",
                                      "parallel.shared_memory=false",
                                      "parallel.node_ranks=4",
                                      "parallel.chunks=3",
                                      "parallel.blas_threads=2",
                                      "checkpoint.every_epochs=2",
                                      "checkpoint.every_steps=7",
                                      "checkpoint.every_minutes=0.5",
                                      "checkpoint.keep=0",
                                      "stats.every=0",
                                      "stats.level=masses",
                                      "stats.keep=13,1,5",
                                      "suite.experts=[2, 1000000]",
                                      "suite.seeds=18446744073709551615",
                                      "output.dir=elsewhere",
                                      "output.log_every=1",
                                      "output.report=false"};
enum { OTHERS = sizeof others / sizeof others[0] };

static cot_recipe *parsed(const char *text, size_t override_count, const cot_override *overrides)
{
    cot_recipe *recipe = NULL;
    if (cot_recipe_parse(text, "test.yaml", override_count, overrides, &recipe) != COT_OK)
        fail_msg("%s in:\n%s", cot_failure(), text);
    return recipe;
}

static cot_recipe *with(const char *override)
{
    return parsed("model: {expert_hidden: 8}", 1, (const cot_override[]){override});
}

static cot_recipe *opposite(void)
{
    return with("loss.label_smoothing=0.1");
}

static void assert_same_list(const cot_counts *a, const cot_counts *b)
{
    assert_int_equal(a->count, b->count);
    if (a->count > 0) assert_memory_equal(a->values, b->values, a->count * sizeof *a->values);
}

static void assert_same(const cot_recipe *a, const cot_recipe *b, bool local_too)
{
    for (size_t i = 0; i < cot_recipe_key_count; i++) {
        const cot_recipe_key *key = &cot_recipe_keys[i];
        if (!local_too && (key->flags & COT_KEY_LOCAL)) continue;
        const char *left = (const char *)a + key->offset;
        const char *right = (const char *)b + key->offset;
        if (key->type == COT_KEY_STRING)
            assert_string_equal(*(const char *const *)left, *(const char *const *)right);
        else if (key->type == COT_KEY_COUNTS)
            assert_same_list((const cot_counts *)left, (const cot_counts *)right);
        else if (key->type == COT_KEY_BOOL)
            assert_memory_equal(left, right, sizeof(bool));
        else if (key->type == COT_KEY_ENUM)
            assert_memory_equal(left, right, sizeof(unsigned));
        else
            assert_memory_equal(left, right, sizeof(uint64_t));
    }
}

static void assert_round_trip(const cot_recipe *recipe)
{
    char *text = cot_recipe_print(recipe, false);
    cot_recipe *again = parsed(text, 0, NULL);
    assert_same(recipe, again, true);
    cot_recipe_destroy(&again);
    cot_free(text);
}

static void test_every_key_survives(void **state)
{
    (void)state;
    cot_recipe *defaults = opposite();
    cot_recipe *recipe = parsed("", OTHERS, others);
    assert_round_trip(defaults);
    assert_round_trip(recipe);
    /* No key has the same value in both, so none can have survived by being at its default. */
    size_t same = 0;
    for (size_t i = 0; i < cot_recipe_key_count; i++) {
        char *left = cot_recipe_value(defaults, &cot_recipe_keys[i]);
        char *right = cot_recipe_value(recipe, &cot_recipe_keys[i]);
        same += strcmp(left, right) == 0;
        cot_free(left);
        cot_free(right);
    }
    assert_int_equal(same, 1);
    cot_recipe_destroy(&recipe);
    cot_recipe_destroy(&defaults);
}

static void test_strings_survive(void **state)
{
    (void)state;
    static const char *const strings[] = {"plain",
                                          "/abs/path-1.2_x",
                                          "a b",
                                          " lead",
                                          "trail ",
                                          "a: b",
                                          "a #b",
                                          "#a",
                                          "\"q\"",
                                          "it's",
                                          "back\\",
                                          "a\nb\n",
                                          "\ttab",
                                          "null",
                                          "NULL",
                                          "~",
                                          "true",
                                          "No",
                                          "12",
                                          "0x1F",
                                          "-",
                                          "---",
                                          "...",
                                          ".inf",
                                          "../up",
                                          "*a",
                                          "&a",
                                          "!t",
                                          "[x]",
                                          "{x}",
                                          "%d",
                                          "@at",
                                          "`",
                                          "|",
                                          ">",
                                          "caf\xc3\xa9",
                                          "\xe6\x97\xa5",
                                          "\xc2\x85x",
                                          "\xe2\x80\xa8",
                                          "\xef\xbb\xbf",
                                          "\x01\x7f",
                                          "\xf0\x9f\x98\x80",
                                          "\r\n",
                                          "? ",
                                          "a,b",
                                          "\xef\xbf\xbf"};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        char *override = cot_strprintf("output.dir=%s", strings[i]);
        cot_recipe *recipe = with(override);
        assert_string_equal(recipe->output.dir, strings[i]);
        assert_round_trip(recipe);
        cot_recipe_destroy(&recipe);
        cot_free(override);
    }
}

/* What another reader of YAML needs quoted or escaped, whether libyaml insists or not. */
static void test_strings_are_quoted_for_any_reader(void **state)
{
    (void)state;
    static const struct {
        const char *text, *quoted;
    } cases[] = {{"runs/a-1.2", "runs/a-1.2"},
                 {"", "\"\""},
                 {"12", "\"12\""},
                 {"Yes", "\"Yes\""},
                 {"a b", "\"a b\""},
                 {"a\n\"", "\"a\\n\\\"\""},
                 {"\x01\t", "\"\\x01\\t\""},
                 {"\xc2\x85", "\"\\x85\""},
                 {"\xef\xbb\xbf", "\"\\uFEFF\""},
                 {"caf\xc3\xa9", "\"caf\xc3\xa9\""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *quoted = cot_recipe_quote(cases[i].text);
        assert_string_equal(quoted, cases[i].quoted);
        cot_free(quoted);
    }
}

static char *printed_mean(double mean)
{
    char override[64];
    snprintf(override, sizeof override, "data.mean=%.17g", mean);
    cot_recipe *recipe = with(override);
    assert_true(recipe->data.mean == mean);
    assert_round_trip(recipe);
    char *text = cot_recipe_value(recipe, cot_recipe_key_find("data.mean"));
    cot_recipe_destroy(&recipe);
    return text;
}

static void test_reals_are_printed_short(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {100, "100"},
                 {-1.5, "-1.5"},
                 {1e-8, "1.0e-08"},
                 {1.25e-8, "1.25e-08"},
                 {1e22, "1.0e+22"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {1.0 / 3.0, "0.3333333333333333"},
                 {DBL_MAX, "1.7976931348623157e+308"},
                 {DBL_MIN, "2.2250738585072014e-308"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = printed_mean(cases[i].value);
        assert_string_equal(text, cases[i].text);
        cot_free(text);
    }
}

static void test_any_double_survives(void **state)
{
    (void)state;
    enum { TRIALS = 500 };
    cot_stream stream = {.seed = 1, .purpose = COT_PURPOSE_TEST};
    for (uint32_t i = 0; i < TRIALS; i++) {
        uint32_t words[4];
        double value;
        cot_rng_words(&stream, i, words);
        memcpy(&value, words, sizeof value);
        if (!isnormal(value)) continue;
        cot_free(printed_mean(value));
    }
}

static void test_the_portable_copy_leaves_out_where(void **state)
{
    (void)state;
    cot_recipe *recipe = parsed("", OTHERS, others);
    char *text = cot_recipe_print(recipe, true);
    assert_null(strstr(text, "elsewhere"));
    cot_recipe *again = parsed(text, 0, NULL);
    assert_same(recipe, again, false);
    assert_string_equal(again->output.dir, "run");
    cot_recipe_destroy(&again);
    cot_free(text);
    cot_recipe_destroy(&recipe);
}

static void test_prints_sections_in_order(void **state)
{
    (void)state;
    cot_recipe *recipe = with("seed=3");
    char *text = cot_recipe_print(recipe, false);
    const char *start = "seed: 3\nmodel:\n  kind: patch\n  patch_height: 14\n";
    assert_memory_equal(text, start, strlen(start));
    assert_non_null(strstr(text, "\nrouter:\n  normalize: inputs\n"));
    assert_non_null(strstr(text, "\n  path: \"\"\n"));
    cot_free(text);
    cot_recipe_destroy(&recipe);
}

/* ---- comparing ---- */

typedef struct lines {
    char text[4096];
    size_t count;
} lines;

static void collect(void *context, const char *line)
{
    lines *all = context;
    all->count++;
    strncat(all->text, line, sizeof all->text - strlen(all->text) - 1);
    strncat(all->text, "\n", sizeof all->text - strlen(all->text) - 1);
}

static void assert_difference(const char *before, const char *now, const char *expected)
{
    lines found = {.count = 0};
    cot_recipe *left = with(before);
    cot_recipe *right = with(now);
    cot_recipe_compare(left, right, collect, &found);
    assert_string_equal(found.text, expected);
    cot_recipe_destroy(&right);
    cot_recipe_destroy(&left);
}

static void test_compares(void **state)
{
    (void)state;
    assert_difference("seed=1", "seed=1", "");
    assert_difference("seed=1", "seed=2", "seed: 1 -> 2\n");
    assert_difference("train.batch=256", "train.batch=128", "train.batch: 256 -> 128\n");
    assert_difference("data.path=a", "data.path=b c", "data.path: a -> \"b c\"\n");
    assert_difference("train.epochs=14", "train.epochs=20", "");
    assert_difference("train.steps=14", "train.steps=20", "");
    assert_difference("output.dir=a", "output.dir=b", "");
    assert_difference("checkpoint.keep=1", "checkpoint.keep=2", "");
    assert_difference("stats.keep=1", "stats.keep=2", "");
    assert_difference("suite.seeds=1", "suite.seeds=2", "");
}

static void test_compares_all_that_a_step_depends_on(void **state)
{
    (void)state;
    lines found = {.count = 0};
    cot_recipe *before = opposite();
    cot_recipe *now = parsed("", OTHERS, others);
    cot_recipe_compare(before, now, collect, &found);
    /* Not model.kind, and activations, eval_every, shared_memory, node_ranks and chunks, four of
     * checkpoint, three of stats, two of suite and three of output count for nothing. */
    assert_int_equal(found.count, cot_recipe_key_count - 1 - 2 - 3 - 4 - 3 - 2 - 3);
    /* The schedule is a cosine now, which another length stretches. */
    assert_non_null(strstr(found.text, "train.epochs: 10 -> 20\n"));
    assert_non_null(strstr(found.text, "train.steps: 0 -> 30\n"));
    cot_recipe_destroy(&now);
    cot_recipe_destroy(&before);
}

/* ---- the table and the help made of it ---- */

static void test_the_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < cot_recipe_key_count; i++) {
        const cot_recipe_key *key = &cot_recipe_keys[i];
        assert_ptr_equal(cot_recipe_key_find(key->name), key);
        assert_int_equal(key->meaning[strlen(key->meaning) - 1], '.');
        assert_int_equal(key->words != NULL, key->type == COT_KEY_ENUM);
        assert_int_equal(strchr(key->name, '.') != NULL, cot_recipe_section_of(key) != NULL);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(cot_recipe_keys[j].offset, key->offset);
            /* The keys of a section stand together, or it would be printed twice. */
            bool same = cot_recipe_section_of(&cot_recipe_keys[j]) == cot_recipe_section_of(key);
            if (same) assert_ptr_equal(cot_recipe_section_of(key - 1), cot_recipe_section_of(key));
        }
    }
}

static void test_help_explains_every_key(void **state)
{
    (void)state;
    for (int markdown = 0; markdown <= 1; markdown++) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        cot_recipe_help(out, markdown != 0);
        fclose(out);
        for (size_t i = 0; i < cot_recipe_key_count; i++)
            if (strstr(text, cot_recipe_keys[i].name) == NULL)
                fail_msg("%s is not explained", cot_recipe_keys[i].name);
        const char *start = text;
        for (const char *end = strchr(start, '\n'); end != NULL; end = strchr(start, '\n')) {
            if (!markdown) assert_true(end - start <= 90);
            start = end + 1;
        }
        free(text);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_every_key_survives),
    cmocka_unit_test(test_strings_survive),
    cmocka_unit_test(test_strings_are_quoted_for_any_reader),
    cmocka_unit_test(test_reals_are_printed_short),
    cmocka_unit_test(test_any_double_survives),
    cmocka_unit_test(test_the_portable_copy_leaves_out_where),
    cmocka_unit_test(test_prints_sections_in_order),
    cmocka_unit_test(test_compares),
    cmocka_unit_test(test_compares_all_that_a_step_depends_on),
    cmocka_unit_test(test_the_table_is_sound),
    cmocka_unit_test(test_help_explains_every_key),
};

RUN_UNIT_TESTS(tests)
