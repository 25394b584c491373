/* IDX files: reading sound and damaged ones, writing, and what is left when writing fails. */
#include "support/test.h"

#include <coterie/data_summary.h>
#include <coterie/dataset.h>
#include <coterie/memory.h>
#include <coterie/status.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRAIN = 40, TEST = 30, SIDE = 28, PIXELS = SIDE * SIDE, MAX_PATH = 600, MAX_FILE = 100000 };
enum { TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS, FILES };
enum { IMAGE_HEADER = 16, LABEL_HEADER = 8 };
static const char *const names[FILES] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

typedef struct file_content {
    size_t size;
    uint8_t bytes[MAX_FILE];
} file_content;

static void path_of(char path[MAX_PATH], const char *folder, int file, const char *suffix)
{
    int length = snprintf(path, MAX_PATH, "%s/%s%s", folder, names[file], suffix);
    assert_in_range(length, 1, MAX_PATH - 1);
}

static void read_whole(const char *path, file_content *content)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    content->size = fread(content->bytes, 1, MAX_FILE, file);
    fclose(file);
}

static void write_whole(const char *path, const file_content *content)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(content->bytes, 1, content->size, file), content->size);
    assert_int_equal(fclose(file), 0);
}

static cot_dataset_options glyph_options(void)
{
    return (cot_dataset_options){.source = COT_DATA_GLYPHS,
                                 .path = "",
                                 .seed = 11,
                                 .train_samples = TRAIN,
                                 .test_samples = TEST,
                                 .validation = 5,
                                 .mean = 0.1,
                                 .deviation = 0.2};
}

static cot_dataset_options idx_options(const char *folder)
{
    cot_dataset_options options = glyph_options();
    options.source = COT_DATA_IDX;
    options.path = folder;
    options.train_samples = 0;
    options.test_samples = 0;
    return options;
}

static cot_dataset *create(const cot_dataset_options *options)
{
    cot_dataset *dataset = NULL;
    if (cot_dataset_create(options, &dataset) != COT_OK) fail_msg("%s", cot_failure());
    return dataset;
}

static cot_dataset *create_glyphs(void)
{
    cot_dataset_options options = glyph_options();
    return create(&options);
}

/* A new folder with four sound files. */
static void make_folder(char folder[MAX_PATH], const char *name, bool gzip)
{
    snprintf(folder, MAX_PATH, "%s/%s", test_folder(), name);
    cot_dataset *glyphs = create_glyphs();
    assert_int_equal(cot_dataset_write_idx(glyphs, folder, gzip), COT_OK);
    cot_dataset_destroy(&glyphs);
}

static void assert_refused(const char *folder, int status, const char *text)
{
    cot_dataset_options options = idx_options(folder);
    cot_dataset *dataset = NULL;
    assert_failure(cot_dataset_create(&options, &dataset), status, text);
    assert_null(dataset);
}

static void assert_same_samples(cot_dataset *a, cot_dataset *b)
{
    for (int split = 0; split < COT_SPLITS; split++) {
        size_t samples = cot_dataset_info_of(a)->samples[split];
        assert_int_equal(cot_dataset_info_of(b)->samples[split], samples);
        for (size_t i = 0; i < samples; i++) {
            cot_real of_a[PIXELS];
            cot_real of_b[PIXELS];
            cot_target target_a;
            cot_target target_b;
            cot_dataset_get(a, (cot_split)split, 0, i, of_a, &target_a);
            cot_dataset_get(b, (cot_split)split, 0, i, of_b, &target_b);
            assert_memory_equal(of_a, of_b, sizeof of_a);
            assert_int_equal(target_a.label, target_b.label);
        }
    }
}

static void test_written_files_read_back_identical(void **state)
{
    (void)state;
    uint64_t checksums[2];
    cot_dataset *glyphs = create_glyphs();
    for (int gzip = 0; gzip < 2; gzip++) {
        char folder[MAX_PATH];
        make_folder(folder, gzip ? "same-gz" : "same", gzip);
        cot_dataset_options options = idx_options(folder);
        cot_dataset *idx = create(&options);
        const cot_dataset_info *info = cot_dataset_info_of(idx);
        assert_int_equal(info->classes, 10);
        assert_int_equal(info->channels * info->height * info->width, PIXELS);
        assert_same_samples(glyphs, idx);
        checksums[gzip] = info->checksum;
        cot_dataset_destroy(&idx);
    }
    assert_int_equal(checksums[0], checksums[1]);
    cot_dataset_destroy(&glyphs);
}

static void test_limits(void **state)
{
    (void)state;
    char folder[MAX_PATH];
    make_folder(folder, "limits", false);
    cot_dataset_options options = idx_options(folder);
    options.train_samples = 20;
    options.test_samples = 10;
    cot_dataset *idx = create(&options);
    const cot_dataset_info *info = cot_dataset_info_of(idx);
    assert_int_equal(info->samples[COT_SPLIT_TRAIN], 15);
    assert_int_equal(info->samples[COT_SPLIT_VALIDATION], 5);
    assert_int_equal(info->samples[COT_SPLIT_TEST], 10);
    cot_dataset_destroy(&idx);

    options.train_samples = TRAIN + 1;
    assert_failure(cot_dataset_create(&options, &idx), COT_E_CONFIG, "data.train_samples: 41");
    options = idx_options(folder);
    options.test_samples = TEST + 1;
    assert_failure(cot_dataset_create(&options, &idx), COT_E_CONFIG, "data.test_samples: 31");
    options = idx_options(folder);
    options.validation = TRAIN;
    assert_failure(cot_dataset_create(&options, &idx), COT_E_CONFIG, "data.validation: 40 of 40");
    options.path = "";
    assert_failure(cot_dataset_create(&options, &idx), COT_E_CONFIG, "data.path");
}

/* What is done to one of the four sound files, and what must then be said. */
typedef struct file_damage {
    const char *name;
    int file;
    size_t cut;   /* bytes taken from the end */
    size_t added; /* zero bytes put there */
    size_t place,
        change; /* four bytes from `place` become `change`, when place > 0 or change > 0 */
    const char *text;
} file_damage;

static const file_damage damages[] = {
    {"empty", TRAIN_IMAGES, MAX_FILE, 0, 0, 0, "truncated: 0 of the 16 bytes of its header"},
    {"short-header", TEST_LABELS, TEST + 3, 0, 0, 0, "truncated: 5 of the 8 bytes of its header"},
    {"truncated-images", TEST_IMAGES, 1, 0, 0, 0, "promises 30 items of 784 bytes, it holds 29"},
    {"truncated-labels", TRAIN_LABELS, 3, 0, 0, 0, "promises 40 items of 1 bytes, it holds 37"},
    {"longer-images", TRAIN_IMAGES, 0, 1, 0, 0, "holds more than the 40 items"},
    {"longer-labels", TEST_LABELS, 0, 7, 0, 0, "holds more than the 30 items"},
    {"magic-images", TRAIN_IMAGES, 0, 0, 0, 0x801,
     "starts with 0x00000801, but an IDX file of images starts with 0x00000803"},
    {"magic-labels", TEST_LABELS, 0, 0, 0, 0x803, "an IDX file of labels starts with 0x00000801"},
    {"no-images", TRAIN_IMAGES, TRAIN *PIXELS, 0, 4, 0, "holds no items"},
    {"many-images", TRAIN_IMAGES, 0, 0, 4, 0xffffffff, "promises 4294967295 items"},
    {"no-rows", TRAIN_IMAGES, 0, 0, 8, 0, "images of 0 x 28 pixels"},
    {"wide", TRAIN_IMAGES, 0, 0, 12, 5000, "images of 28 x 5000 pixels"},
    {"fewer-labels", TRAIN_LABELS, 1, 0, 4, TRAIN - 1, "the counts must be equal"},
    {"label", TEST_LABELS, 0, 0, LABEL_HEADER + 12, 0x0A, "label 15 is 10; labels are 0 to 9"},
    {"shape", TEST_IMAGES, TEST *PIXELS / 2, 0, 8, SIDE / 2, "images of 14 x 28 pixels, but"},
};

static void apply(const file_damage *damage, file_content *content)
{
    content->size -= damage->cut < content->size ? damage->cut : content->size;
    memset(content->bytes + content->size, 0, damage->added);
    content->size += damage->added;
    if (damage->place == 0 && damage->change == 0) return;
    for (size_t i = 0; i < 4; i++)
        content->bytes[damage->place + i] = (uint8_t)(damage->change >> (24 - 8 * i));
}

static void test_damaged_files_are_refused(void **state)
{
    (void)state;
    static file_content content;
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        char folder[MAX_PATH];
        char path[MAX_PATH];
        make_folder(folder, damages[i].name, false);
        path_of(path, folder, damages[i].file, "");
        read_whole(path, &content);
        apply(&damages[i], &content);
        write_whole(path, &content);
        assert_refused(folder, COT_E_DATA, damages[i].text);
        assert_refused(folder, COT_E_DATA, names[damages[i].file]);
    }
}

static void test_damaged_gzip_files_are_refused(void **state)
{
    (void)state;
    static file_content content;
    static const char *const kinds[] = {"gz-truncated", "gz-flipped", "gz-crc", "gz-header"};
    static const char *const texts[] = {"truncated: the compressed data end early", "damaged",
                                        "damaged", "truncated"};
    for (int kind = 0; kind < 4; kind++) {
        char folder[MAX_PATH];
        char path[MAX_PATH];
        make_folder(folder, kinds[kind], true);
        path_of(path, folder, TEST_IMAGES, ".gz");
        read_whole(path, &content);
        if (kind == 0) content.size /= 2;
        if (kind == 1) content.bytes[content.size / 2] ^= 0x10;
        if (kind == 2) content.bytes[content.size - 8] ^= 1;
        if (kind == 3) content.size = 6;
        write_whole(path, &content);
        assert_refused(folder, COT_E_DATA, texts[kind]);
        assert_refused(folder, COT_E_DATA, "t10k-images-idx3-ubyte.gz");
    }
}

/* Wherever a gzip file is cut, it is refused. */
static void test_every_truncation_is_refused(void **state)
{
    (void)state;
    static file_content content;
    char folder[MAX_PATH];
    char path[MAX_PATH];
    make_folder(folder, "gz-every", true);
    path_of(path, folder, TEST_LABELS, ".gz");
    read_whole(path, &content);
    size_t whole = content.size;
    for (size_t size = 0; size < whole; size++) {
        content.size = size;
        write_whole(path, &content);
        assert_refused(folder, COT_E_DATA, "t10k-labels-idx1-ubyte.gz");
    }
}

static void test_files_that_are_not_there(void **state)
{
    (void)state;
    char folder[MAX_PATH];
    char path[MAX_PATH];
    make_folder(folder, "missing", false);
    path_of(path, folder, TEST_LABELS, "");
    assert_int_equal(unlink(path), 0);
    assert_refused(folder, COT_E_NOINPUT, "t10k-labels-idx1-ubyte");
    assert_int_equal(mkdir(path, 0777), 0);
    assert_refused(folder, COT_E_NOINPUT, "not a regular file");
    snprintf(folder, sizeof folder, "%s/nowhere", test_folder());
    assert_refused(folder, COT_E_NOINPUT, "nowhere/train-images-idx3-ubyte");
    /* A regular file where a folder should be. */
    make_folder(folder, "file-as-folder", false);
    path_of(path, folder, TRAIN_LABELS, "");
    assert_refused(path, COT_E_NOINPUT, "train-labels-idx1-ubyte/train-images-idx3-ubyte");
}

static size_t count_entries(const char *folder)
{
    size_t count = 0;
    DIR *entries = opendir(folder);
    if (entries == NULL) return 0;
    while (readdir(entries) != NULL) count++;
    closedir(entries);
    return count - 2; /* . and .. */
}

static void test_existing_files_are_kept(void **state)
{
    (void)state;
    char folder[MAX_PATH];
    char path[MAX_PATH];
    snprintf(folder, sizeof folder, "%s/kept", test_folder());
    assert_int_equal(mkdir(folder, 0777), 0);
    path_of(path, folder, TEST_LABELS, ".gz");
    file_content mine = {4, "mine"};
    write_whole(path, &mine);
    cot_dataset *glyphs = create_glyphs();
    for (int gzip = 0; gzip < 2; gzip++) {
        assert_failure(cot_dataset_write_idx(glyphs, folder, gzip), COT_E_CREATE, path);
        assert_int_equal(count_entries(folder), 1);
    }
    static file_content after;
    read_whole(path, &after);
    assert_int_equal(after.size, 4);
    assert_memory_equal(after.bytes, "mine", 4);
    cot_dataset_destroy(&glyphs);
}

static void test_unwritable_places(void **state)
{
    (void)state;
    char folder[MAX_PATH];
    char path[MAX_PATH];
    snprintf(path, sizeof path, "%s/regular", test_folder());
    file_content nothing = {0, ""};
    write_whole(path, &nothing);
    cot_dataset *glyphs = create_glyphs();
    snprintf(folder, sizeof folder, "%s/regular/below", test_folder());
    assert_failure(cot_dataset_write_idx(glyphs, folder, false), COT_E_CREATE, folder);
    snprintf(folder, sizeof folder, "%s/regular", test_folder());
    assert_failure(cot_dataset_write_idx(glyphs, folder, false), COT_E_CREATE, folder);
    snprintf(folder, sizeof folder, "%s/no/such", test_folder());
    assert_failure(cot_dataset_write_idx(glyphs, folder, false), COT_E_CREATE, folder);
    cot_dataset_destroy(&glyphs);
}

static void test_vectors_cannot_be_written(void **state)
{
    (void)state;
    cot_dataset_options options = glyph_options();
    options.source = COT_DATA_L2NORM;
    options.tokens = 4;
    options.width = 8;
    cot_dataset *dataset = create(&options);
    assert_failure(cot_dataset_write_idx(dataset, test_folder(), false), COT_E_USAGE,
                   "grey images");
    cot_dataset_destroy(&dataset);
}

/* A limit on the size of files stands for a full disk. */
static void test_full_disk_leaves_nothing_behind(void **state)
{
    (void)state;
    char folder[MAX_PATH];
    snprintf(folder, sizeof folder, "%s/full", test_folder());
    cot_dataset *glyphs = create_glyphs();
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit tight = {.rlim_cur = 2000, .rlim_max = before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    for (int gzip = 0; gzip < 2; gzip++) {
        setrlimit(RLIMIT_FSIZE, &tight);
        cot_status status = cot_dataset_write_idx(glyphs, folder, gzip);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_failure(status, COT_E_IO, "File too large");
        assert_int_not_equal(access(folder, F_OK), 0);
    }
    signal(SIGXFSZ, handler);
    /* In a folder that was there, that folder stays, empty; and when there is room again, writing
     * works. */
    assert_int_equal(mkdir(folder, 0777), 0);
    setrlimit(RLIMIT_FSIZE, &tight);
    handler = signal(SIGXFSZ, SIG_IGN);
    cot_status status = cot_dataset_write_idx(glyphs, folder, false);
    signal(SIGXFSZ, handler);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_failure(status, COT_E_IO, "full/train-images-idx3-ubyte");
    assert_int_equal(count_entries(folder), 0);
    assert_int_equal(cot_dataset_write_idx(glyphs, folder, false), COT_OK);
    assert_int_equal(count_entries(folder), FILES);
    cot_dataset_destroy(&glyphs);
}

static void test_checksum_sees_one_bit(void **state)
{
    (void)state;
    static file_content content;
    static const size_t places[FILES] = {IMAGE_HEADER + 1000, LABEL_HEADER + 7, IMAGE_HEADER + 1000,
                                         LABEL_HEADER + 7};
    char folder[MAX_PATH];
    char path[MAX_PATH];
    make_folder(folder, "bit", false);
    cot_dataset_options options = idx_options(folder);
    cot_dataset *idx = create(&options);
    uint64_t last = cot_dataset_info_of(idx)->checksum;
    cot_dataset_destroy(&idx);
    for (int file = 0; file < FILES; file++) {
        path_of(path, folder, file, "");
        read_whole(path, &content);
        /* A label of 8 or 9 would become one of 0 or 1. */
        content.bytes[places[file]] =
            (content.bytes[places[file]] ^ 1) & (uint8_t)(file % 2 ? 7 : 255);
        write_whole(path, &content);
        idx = create(&options);
        assert_true(cot_dataset_info_of(idx)->checksum != last);
        last = cot_dataset_info_of(idx)->checksum;
        cot_dataset_destroy(&idx);
    }
}

/* The real data set, where the environment says where it is. */
static void test_mnist(void **state)
{
    (void)state;
    const char *folder = getenv("COTERIE_MNIST");
    if (folder == NULL) {
        print_message("skipped: COTERIE_MNIST does not name a folder with the MNIST files\n");
        skip();
    }
    cot_dataset_options options = idx_options(folder);
    options.validation = 0;
    cot_dataset *mnist = create(&options);
    cot_data_summary summary;
    cot_data_summarize(mnist, &summary);
    const size_t train[] = {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949};
    const size_t test[] = {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009};
    assert_int_equal(summary.splits[COT_SPLIT_TRAIN].samples, 60000);
    assert_int_equal(summary.splits[COT_SPLIT_TEST].samples, 10000);
    assert_memory_equal(summary.splits[COT_SPLIT_TRAIN].histogram, train, sizeof train);
    assert_memory_equal(summary.splits[COT_SPLIT_TEST].histogram, test, sizeof test);
    /* The constants that everybody uses, given to four digits. */
    assert_close_double(summary.splits[COT_SPLIT_TRAIN].values.mean, 0.1307, 0, 5e-5);
    assert_close_double(summary.splits[COT_SPLIT_TRAIN].values.deviation, 0.3081, 0, 5e-5);
    cot_data_summary_free(&summary);
    cot_dataset_destroy(&mnist);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_written_files_read_back_identical),
    cmocka_unit_test(test_limits),
    cmocka_unit_test(test_damaged_files_are_refused),
    cmocka_unit_test(test_damaged_gzip_files_are_refused),
    cmocka_unit_test(test_every_truncation_is_refused),
    cmocka_unit_test(test_files_that_are_not_there),
    cmocka_unit_test(test_existing_files_are_kept),
    cmocka_unit_test(test_unwritable_places),
    cmocka_unit_test(test_vectors_cannot_be_written),
    cmocka_unit_test(test_full_disk_leaves_nothing_behind),
    cmocka_unit_test(test_checksum_sees_one_bit),
    cmocka_unit_test(test_mnist),
};
RUN_UNIT_TESTS(tests)
