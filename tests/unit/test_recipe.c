/* What a recipe accepts and refuses, with the line that it names. */
#include "support/test.h"

#include <coterie/memory.h>
#include <coterie/recipe.h>
#include <coterie/status.h>

#include <stdio.h>
#include <string.h>

/* The least that makes a recipe valid, as an override, so that it moves no line of the text. */
static const cot_override valid[] = {"model.expert_hidden=8"};

static cot_recipe *parsed(const char *text)
{
    cot_recipe *recipe = NULL;
    cot_status status = cot_recipe_parse(text, "good.yaml", 1, valid, &recipe);
    if (status != COT_OK) fail_msg("%s", cot_failure());
    return recipe;
}

static void assert_refused(const char *text, size_t override_count, const cot_override *overrides,
                           const char *message)
{
    cot_recipe *recipe = NULL;
    cot_status status = cot_recipe_parse(text, "bad.yaml", override_count, overrides, &recipe);
    assert_null(recipe);
    assert_failure(status, COT_E_CONFIG, message);
}

static void test_defaults_are_the_papers(void **state)
{
    (void)state;
    cot_recipe *recipe = parsed("");
    assert_int_equal(recipe->model.patch_height, 14);
    assert_int_equal(recipe->model.experts, 16);
    assert_int_equal(recipe->model.slots, 1);
    assert_int_equal(recipe->model.embed, 0);
    assert_int_equal(recipe->model.router.normalize, COT_NORMALIZE_INPUTS);
    assert_int_equal(recipe->model.router.init, COT_ROUTER_UNIFORM);
    assert_int_equal(recipe->optimizer.kind, COT_ADAM);
    assert_true(recipe->optimizer.learning_rate == 1e-3 && recipe->optimizer.epsilon == 1e-8);
    assert_true(recipe->optimizer.beta1 == 0.9 && recipe->optimizer.beta2 == 0.999);
    assert_int_equal(recipe->train.batch, 256);
    assert_true(recipe->train.shuffle);
    assert_int_equal(recipe->parallel.grains, 8);
    assert_true(recipe->parallel.reproducible);
    assert_string_equal(recipe->output.dir, "run");
    assert_string_equal(recipe->data.path, "");
    cot_recipe_destroy(&recipe);
    assert_null(recipe);
    cot_recipe_destroy(&recipe);
}

static void test_reads_every_type(void **state)
{
    (void)state;
    cot_recipe *recipe = parsed("# a comment\n"
                                "seed: 18446744073709551615\n"
                                "model: {experts: \"64\", activation: 'gelu'}\n"
                                "router:\n"
                                "  noise: .5e-1\n"
                                "train:\n"
                                "  shuffle: false\n"
                                "data:\n"
                                "  source: idx\n"
                                "  path: a folder/with spaces\n"
                                "  mean: -1.5\n");
    assert_true(recipe->seed == UINT64_MAX);
    assert_int_equal(recipe->model.experts, 64);
    assert_int_equal(recipe->model.activation, COT_GELU);
    assert_true(recipe->model.router.noise == 0.05);
    assert_false(recipe->train.shuffle);
    assert_string_equal(recipe->data.path, "a folder/with spaces");
    assert_true(recipe->data.mean == -1.5);
    cot_recipe_destroy(&recipe);
}

static void test_windows_lines_and_byte_order_mark(void **state)
{
    (void)state;
    cot_recipe *recipe = parsed("\xef\xbb\xbfmodel:\r\n  experts: 4\r\n");
    assert_int_equal(recipe->model.experts, 4);
    cot_recipe_destroy(&recipe);
}

static void test_an_alias_repeats_a_value(void **state)
{
    (void)state;
    cot_recipe *recipe = parsed("seed: &s 7\ndata:\n  seed: *s\n");
    assert_int_equal(recipe->data.seed, 7);
    cot_recipe_destroy(&recipe);
}

static void assert_list(const cot_counts *list, size_t count, const uint64_t *values)
{
    assert_int_equal(list->count, count);
    if (count > 0) assert_memory_equal(list->values, values, count * sizeof *values);
}

static void test_reads_lists(void **state)
{
    (void)state;
    static const uint64_t expected[] = {2, 8, 4};
    static const char *const texts[] = {
        "suite:\n  experts: [2, 8, 4]\n",   "suite:\n  experts:\n    - 2\n    - 8\n    - 4\n",
        "suite:\n  experts: 2, 8, 4\n",     "suite:\n  experts: \"[2,8,4]\"\n",
        "suite: {experts: [2, \"8\", 4,]}", "suite: {experts: &a [2, 8, 4], seeds: *a}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cot_recipe *recipe = parsed(texts[i]);
        assert_list(&recipe->suite.experts, 3, expected);
        cot_recipe_destroy(&recipe);
    }
    cot_recipe *recipe = parsed("suite: {experts: [], seeds: [18446744073709551615]}");
    assert_list(&recipe->suite.experts, 0, NULL);
    assert_list(&recipe->suite.seeds, 1, (const uint64_t[]){UINT64_MAX});
    assert_list(&recipe->stats.keep, 0, NULL);
    cot_recipe_destroy(&recipe);
}

static void test_overrides_lists(void **state)
{
    (void)state;
    static const cot_override texts[] = {"suite.experts=7,9", "suite.experts=[7,9]",
                                         "suite.experts= [ 7 , 9 ] "};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cot_recipe *recipe = NULL;
        const char *text = "model: {expert_hidden: 8}\nsuite: {experts: [1, 2, 3]}";
        assert_int_equal(cot_recipe_parse(text, "good.yaml", 1, &texts[i], &recipe), COT_OK);
        assert_list(&recipe->suite.experts, 2, (const uint64_t[]){7, 9});
        cot_recipe_destroy(&recipe);
    }
    cot_recipe *recipe = NULL;
    static const cot_override none[] = {"suite.experts=[ ]"};
    assert_int_equal(cot_recipe_parse("model: {expert_hidden: 8}\nsuite: {experts: [1, 2, 3]}",
                                      "good.yaml", 1, none, &recipe),
                     COT_OK);
    assert_list(&recipe->suite.experts, 0, NULL);
    cot_recipe_destroy(&recipe);
}

typedef struct bad_text {
    const char *text, *message;
} bad_text;

static void assert_all_refused(const bad_text *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) assert_refused(cases[i].text, 1, valid, cases[i].message);
}

static void test_refuses_keys(void **state)
{
    (void)state;
    static const bad_text cases[] = {
        {"model:\n  expert: 4\n",
         "bad.yaml:2: unknown key 'model.expert'; did you mean 'model.experts'?"},
        {"modle:\n  experts: 4\n", "bad.yaml:1: unknown key 'modle'; did you mean 'model'?"},
        {"train:\n  experts: 4\n",
         "bad.yaml:2: unknown key 'train.experts'; did you mean 'model.experts'?"},
        {"sede: 4\n", "bad.yaml:1: unknown key 'sede'; did you mean 'seed'?"},
        {"\n\nflux_capacitor: 1\n",
         "bad.yaml:3: unknown key 'flux_capacitor'; 'coterie help recipe' lists all"},
        {"a\x01: 1\n", "bad.yaml:1: control characters are not allowed"},
        {"\"a\\nb\": 1\n", "bad.yaml:1: unknown key 'a?b'"},
        {"seed: 1\nmodel: {}\nseed: 2\n", "bad.yaml:3: seed: given twice, first on line 1"},
        {"model:\n  experts: 1\nmodel:\n  slots: 1\n",
         "bad.yaml:3: model: given twice, first on line 1"},
        {"model:\n  experts: 1\n  slots: 1\n  experts: 2\n",
         "bad.yaml:4: model.experts: given twice, first on line 2"},
        {"model.experts: 4\n", "bad.yaml:1: 'model.experts' is two levels here: write 'experts:' "
                               "indented below 'model:'"},
        {"? [a, b]\n: 1\n", "bad.yaml:1: a list stands where a key belongs"},
        {"\"seed\\0x\": 1\n", "bad.yaml:1: a key holds a zero byte"},
        {"<<: {seed: 1}\n", "bad.yaml:1: unknown key '<<'"},
    };
    assert_all_refused(cases, sizeof cases / sizeof cases[0]);
}

static void test_refuses_values(void **state)
{
    (void)state;
    static const bad_text cases[] = {
        {"seed: 0\nmodel:\n  experts: 0\n", "bad.yaml:3: model.experts: 0 is below 1"},
        {"model:\n  experts: -3\n", "bad.yaml:2: model.experts: -3 is below 1"},
        {"model:\n  experts: 1000001\n", "bad.yaml:2: model.experts: 1000001 is above 1000000"},
        {"seed: 18446744073709551616\n",
         "bad.yaml:1: seed: 18446744073709551616 is above 18446744073709551615"},
        {"model:\n  experts: 12abc\n",
         "bad.yaml:2: model.experts: '12abc' is not a whole number from 1 to 10^6"},
        {"model:\n  experts: 1.5\n", "bad.yaml:2: model.experts: '1.5' is not a whole number"},
        {"model:\n  experts: 1e3\n", "bad.yaml:2: model.experts: '1e3' is not a whole number"},
        {"model:\n  experts: 0x10\n", "bad.yaml:2: model.experts: '0x10' is not a whole number"},
        {"model:\n  experts: 010\n", "bad.yaml:2: model.experts: '010' is not a whole number"},
        {"model:\n  experts: ' 4'\n", "bad.yaml:2: model.experts: ' 4' is not a whole number"},
        {"model:\n  experts: \"\"\n", "bad.yaml:2: model.experts: '' is not a whole number"},
        {"optimizer:\n  beta1: 1\n", "bad.yaml:2: optimizer.beta1: '1' is not a number in [0, 1)"},
        {"optimizer:\n  beta2: 1.0\n",
         "bad.yaml:2: optimizer.beta2: '1.0' is not a number in [0, 1)"},
        {"loss:\n  label_smoothing: 1\n", "loss.label_smoothing: '1' is not a number in [0, 1)"},
        {"optimizer:\n  epsilon: 1e-40\n",
         "bad.yaml:2: optimizer.epsilon: '1e-40' is not a number of at least 1e-30"},
        {"router:\n  noise: -0.1\n",
         "bad.yaml:2: router.noise: '-0.1' is not a number of at least 0"},
        {"data:\n  mean: nan\n", "bad.yaml:2: data.mean: 'nan' is not a number"},
        {"data:\n  mean: .inf\n", "bad.yaml:2: data.mean: '.inf' is not a number"},
        {"data:\n  mean: 1e999\n", "bad.yaml:2: data.mean: '1e999' is not a number"},
        {"data:\n  mean: 1e-999\n", "bad.yaml:2: data.mean: '1e-999' is not a number"},
        {"data:\n  mean: 0.1x\n", "bad.yaml:2: data.mean: '0.1x' is not a number"},
        {"data:\n  mean: 0x1p3\n", "bad.yaml:2: data.mean: '0x1p3' is not a number"},
        {"data:\n  mean: 1e\n", "bad.yaml:2: data.mean: '1e' is not a number"},
        {"data:\n  mean: .\n", "bad.yaml:2: data.mean: '.' is not a number"},
        {"train:\n  shuffle: yes\n", "bad.yaml:2: train.shuffle: 'yes' is neither true nor false"},
        {"train:\n  shuffle: 1\n", "bad.yaml:2: train.shuffle: '1' is neither true nor false"},
        {"router:\n  normalize: all\n",
         "bad.yaml:2: router.normalize: 'all' is none of: none, logits, inputs"},
        {"output:\n  dir: \"\"\n", "bad.yaml:2: output.dir: is empty"},
        {"output:\n  dir: \"a\\0b\"\n", "bad.yaml:2: output.dir: holds a zero byte"},
        {"seed:\n", "bad.yaml:1: seed: has no value; leave the key out for its default, 0"},
        {"data:\n  path: null\n", "bad.yaml:2: data.path: has no value"},
        {"data:\n  path: ~\n", "bad.yaml:2: data.path: has no value"},
        {"seed: [1]\n", "bad.yaml:1: seed: a list stands where one value belongs"},
        {"seed: {a: 1}\n", "bad.yaml:1: seed: a mapping stands where one value belongs"},
        {"seed: &a [*a]\n", "bad.yaml:1: seed: a list stands where one value belongs"},
        {"model: &a\n  experts: *a\n",
         "bad.yaml:2: model.experts: a mapping stands where one value"},
        {"model: 4\n",
         "bad.yaml:1: model: a single value stands where keys indented below it belong"},
        {"model:\n", "bad.yaml:1: model: nothing stands where keys indented below it belong"},
        {"model: [1]\n", "bad.yaml:1: model: a list stands where keys indented below it belong"},
    };
    assert_all_refused(cases, sizeof cases / sizeof cases[0]);
}

static void test_refuses_lists(void **state)
{
    (void)state;
    static const bad_text cases[] = {
        {"suite:\n  experts: [2, x]\n",
         "bad.yaml:2: suite.experts: 'x' is not a whole number from 1 to 10^6"},
        {"suite:\n  experts: [2, 0]\n", "bad.yaml:2: suite.experts: 0 is below 1"},
        {"suite:\n  experts: [1000001]\n", "bad.yaml:2: suite.experts: 1000001 is above 1000000"},
        {"suite:\n  seeds: [-1]\n", "bad.yaml:2: suite.seeds: -1 is below 0"},
        {"suite:\n  seeds: [7, 8, 7]\n", "bad.yaml:2: suite.seeds: 7 stands in the list twice"},
        {"suite:\n  seeds: [\"2, 3\"]\n", "bad.yaml:2: suite.seeds: '2, 3' is not a whole number"},
        {"suite:\n  seeds: [[2]]\n", "suite.seeds: a list stands where one value belongs"},
        {"suite:\n  seeds: [{a: 1}]\n", "suite.seeds: a mapping stands where one value belongs"},
        {"suite:\n  seeds: {a: 1}\n", "suite.seeds: a mapping stands where one value belongs"},
        {"suite:\n  seeds: [1, ~]\n", "suite.seeds: has no value"},
        {"suite:\n  seeds: [\"1\\0\"]\n", "suite.seeds: holds a zero byte"},
        {"suite:\n  seeds:\n", "suite.seeds: has no value; leave the key out for its default, []"},
        {"suite:\n  seeds: 1,,2\n", "suite.seeds: '' is not a whole number below 2^64"},
        {"suite:\n  seeds: \"[1\"\n", "suite.seeds: '[1' is not a whole number"},
        {"suite:\n  seeds: \"\"\n", "suite.seeds: '' is not a whole number"},
        {"model: {experts: 4}\nstats: {keep: [4, 5]}",
         "bad.yaml: stats.keep 5 is above model.experts 4"},
    };
    assert_all_refused(cases, sizeof cases / sizeof cases[0]);
    char text[4096] = "suite.seeds=0";
    for (int i = 1; i <= 1000; i++) strcat(text, ",1");
    assert_refused("", 1, (const cot_override[]){text},
                   "a list of 1001 numbers; 1000 are the most");
}

static void test_refuses_what_is_not_one_yaml_document(void **state)
{
    (void)state;
    static const bad_text cases[] = {
        {"- a\n- b\n", "bad.yaml:1: a list stands where keys and values belong"},
        {"# only\nwords\n", "bad.yaml:2: a single value stands where keys and values belong"},
        {"seed: 1\n---\nseed: 2\n", "bad.yaml:2: a second document begins here"},
        {"seed: 1\nmodel:\n\texperts: 4\n", "bad.yaml:3: indented with a tab; YAML wants spaces"},
        {"seed: 1\nmodel:\n  experts: 4\n slots: 2\n", "bad.yaml:4: not YAML"},
        {"seed: [1\n", "bad.yaml:2: not YAML: while parsing a flow sequence (line 1)"},
        {"seed: 'a\n\n", "not YAML: while scanning a quoted scalar (line 1)"},
        {"seed: *nowhere\n", "bad.yaml:1: not YAML: found undefined alias"},
        {"seed: 1\noutput:\n  dir: \xff\n",
         "bad.yaml:3: invalid leading UTF-8 octet; a recipe is UTF-8"},
        {"[[[[[[[[[[[[[[[[[[[[", "bad.yaml:1: nests over 16 levels; a recipe has two"},
    };
    assert_all_refused(cases, sizeof cases / sizeof cases[0]);
}

/* A message is one line of moderate length, whatever the recipe holds. */
static void test_messages_stay_short(void **state)
{
    (void)state;
    char text[4000] = "seed: \"\\n";
    memset(text + strlen(text), 'x', sizeof text - strlen(text) - 2);
    text[sizeof text - 2] = '"';
    cot_recipe *recipe = NULL;
    assert_int_equal(cot_recipe_parse(text, "bad.yaml", 0, NULL, &recipe), COT_E_CONFIG);
    assert_true(strlen(cot_failure()) < 160);
    assert_null(strchr(cot_failure(), '\n'));
    assert_failure(COT_E_CONFIG, COT_E_CONFIG, "bad.yaml:1: seed: '?xxx");
    /* Deep nesting takes libyaml's document interface minutes at this size. */
    size_t size = (size_t)1 << 20;
    char *deep = cot_alloc(size + 1, 1);
    memset(deep, '{', size);
    assert_refused(deep, 0, NULL, "nests over 16 levels");
    cot_free(deep);
}

static void test_overrides(void **state)
{
    (void)state;
    const cot_override overrides[] = {"model.expert_hidden_total=784",
                                      "model.experts=4",
                                      "model.experts=8",
                                      "data.path=x=y z",
                                      "data.source=idx",
                                      "train.shuffle=false"};
    cot_recipe *recipe = NULL;
    const char *text = "model:\n  experts: 2\ndata:\n  path: elsewhere\n";
    assert_int_equal(cot_recipe_parse(text, "good.yaml", 6, overrides, &recipe), COT_OK);
    assert_int_equal(recipe->model.experts, 8);
    assert_string_equal(recipe->data.path, "x=y z");
    assert_false(recipe->train.shuffle);
    cot_recipe_destroy(&recipe);
}

static void test_refuses_overrides(void **state)
{
    (void)state;
    static const struct {
        cot_override override;
        const char *message;
    } cases[] = {
        {"model.experts=0", "--set model.experts=0: 0 is below 1"},
        {"model.experts=", "--set model.experts=: '' is not a whole number from 1 to 10^6"},
        {"model.experts", "--set model.experts: wants key=value, as in --set model.experts=64"},
        {"=4", "--set =4: wants key=value"},
        {"", "--set : wants key=value"},
        {"model.expert=4",
         "--set model.expert=4: unknown key 'model.expert'; did you mean 'model.experts'?"},
        {"learning_rate=1", "unknown key 'learning_rate'; did you mean 'optimizer.learning_rate'?"},
        {"model=4", "unknown key 'model'"},
        {"output.dir=", "--set output.dir=: is empty"},
        {"output.dir=\xc3(", "--set output.dir=?(: is not UTF-8 text"},
        {"output.dir=\xed\xa0\x80", "is not UTF-8 text"},
        {"output.dir=\xc0\x80", "is not UTF-8 text"},
        {"output.dir=\xe0\x80\x80", "is not UTF-8 text"},
        {"output.dir=\xf0\x80\x80\x80", "is not UTF-8 text"},
        {"output.dir=\xf4\x90\x80\x80", "is not UTF-8 text"},
        {"output.dir=\xe2\x82", "is not UTF-8 text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused("", 1, &cases[i].override, cases[i].message);
    char path[5000] = "output.dir=";
    memset(path + strlen(path), 'x', sizeof path - strlen(path) - 1);
    assert_refused("", 1, (const cot_override[]){path}, "has 4988 bytes, more than 4095");
}

static void test_keys_fit_together(void **state)
{
    (void)state;
    static const bad_text cases[] = {
        {"", "bad.yaml: model.expert_hidden and model.expert_hidden_total are both 0"},
        {"model: {expert_hidden: 4, expert_hidden_total: 8}",
         "bad.yaml: model.expert_hidden is 4 and model.expert_hidden_total is 8; one must be 0"},
        {"router: {init: zeros}", "router.init zeros has no direction to normalize"},
        {"router: {init: zeros, normalize: logits}", "use router.normalize none"},
        {"parallel: {grains: 6}", "parallel.grains 6 is not a power of two"},
        {"train: {batch: 4, accumulate: 5}", "train.accumulate 5 is above train.batch 4"},
        {"data: {source: idx}", "data.path is empty; data.source idx needs"},
        {"data: {source: l2norm}", "loss.kind cross_entropy needs classes"},
        {"loss: {kind: mean_squared_error}", "loss.kind mean_squared_error needs values"},
        {"data: {source: l2norm}\nloss: {kind: mean_squared_error, label_smoothing: 0.1}",
         "loss.label_smoothing is for loss.kind cross_entropy only"},
        {"schedule: {kind: step}", "schedule.every is 0"},
    };
    assert_refused(cases[0].text, 0, NULL, cases[0].message);
    assert_refused(cases[1].text, 0, NULL, cases[1].message);
    assert_all_refused(cases + 2, sizeof cases / sizeof cases[0] - 2);
    static const char *const fit[] = {
        "router: {init: zeros, normalize: none}",
        "train: {batch: 4, accumulate: 4}",
        "parallel: {grains: 1}",
        "data: {source: l2norm}\nloss: {kind: mean_squared_error}",
        "loss: {label_smoothing: 0.1}",
        "schedule: {kind: step, every: 10}",
    };
    for (size_t i = 0; i < sizeof fit / sizeof fit[0]; i++) {
        cot_recipe *recipe = parsed(fit[i]);
        cot_recipe_destroy(&recipe);
    }
}

/* The recipes of the repository, found from where this file stands. */
static cot_recipe *from_repository(const char *name)
{
    enum { LARGEST = 8192 };
    char path[1024];
    char text[LARGEST] = "";
    const char *here = strstr(__FILE__, "tests/unit/");
    assert_non_null(here);
    snprintf(path, sizeof path, "%.*sjobs/recipes/%s.yaml", (int)(here - __FILE__), __FILE__, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail_msg("%s is missing", path);
    assert_true(fread(text, 1, LARGEST - 1, file) < LARGEST - 1);
    fclose(file);
    cot_recipe *recipe = NULL;
    if (cot_recipe_parse(text, path, 0, NULL, &recipe) != COT_OK) fail_msg("%s", cot_failure());
    return recipe;
}

static void test_recipes_of_the_repository(void **state)
{
    (void)state;
    cot_recipe *quickstart = from_repository("quickstart");
    assert_int_equal(quickstart->data.source, COT_DATA_GLYPHS);
    assert_true(quickstart->train.shuffle);
    cot_recipe_destroy(&quickstart);

    cot_recipe *mnist = from_repository("mnist");
    assert_int_equal(mnist->model.expert_hidden_total, 784);
    assert_int_equal(mnist->train.epochs, 14);
    assert_false(mnist->train.shuffle);
    assert_true(mnist->data.mean == 0.1307 && mnist->data.deviation == 0.3081);
    assert_int_equal(mnist->data.train_samples, 0);
    cot_recipe_destroy(&mnist);

    cot_recipe *l2norm = from_repository("l2norm");
    assert_int_equal(l2norm->train.epochs * l2norm->data.train_samples / l2norm->train.batch, 4000);
    assert_int_equal(l2norm->model.expert_hidden_total, 512);
    assert_int_equal(l2norm->model.patch_width, l2norm->data.width);
    assert_true(l2norm->model.expert_bias && l2norm->model.head_bias);
    assert_int_equal(l2norm->schedule.kind, COT_COSINE);
    cot_recipe_destroy(&l2norm);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_defaults_are_the_papers),
    cmocka_unit_test(test_reads_every_type),
    cmocka_unit_test(test_reads_lists),
    cmocka_unit_test(test_overrides_lists),
    cmocka_unit_test(test_windows_lines_and_byte_order_mark),
    cmocka_unit_test(test_an_alias_repeats_a_value),
    cmocka_unit_test(test_refuses_keys),
    cmocka_unit_test(test_refuses_values),
    cmocka_unit_test(test_refuses_lists),
    cmocka_unit_test(test_refuses_what_is_not_one_yaml_document),
    cmocka_unit_test(test_messages_stay_short),
    cmocka_unit_test(test_overrides),
    cmocka_unit_test(test_refuses_overrides),
    cmocka_unit_test(test_keys_fit_together),
    cmocka_unit_test(test_recipes_of_the_repository),
};

RUN_UNIT_TESTS(tests)
