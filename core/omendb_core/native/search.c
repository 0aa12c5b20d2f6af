/* The scan for Python: arrays in, arrays out. scan/shadowed.py says what they are. */
#include "buffers.h"
#include "helpers.h"
#include "scan.h"
#include "score_bounds.h"
#include "shadow_arrays.h"

/* kernels() -> names of the kernels that this machine can run, best first. */
PyObject *native_kernels(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    PyObject *names = PyList_New(0);
    const omendb_kernel *kernel;
    for (size_t at = 0; names != NULL && (kernel = omendb_kernel_at(at)) != NULL; at++) {
        PyObject *name = PyUnicode_FromString(kernel->name);
        if (name == NULL || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

bool take_shadow(
    taken_arrays *taken, PyObject *codes, PyObject *factors, PyObject *centre, Py_ssize_t slots,
    int metric, enum access access, omendb_shadow *out)
{
    array taken_codes, taken_factors, taken_centre;
    if (!take_array(taken, centre, "centre", F32, -1, TO_READ, &taken_centre))
        return false;
    Py_ssize_t dim = taken_centre.count;
    if (dim < 1 || dim > OMENDB_MAX_DIM || slots < 1 || slots >= UINT32_MAX || metric < DOT ||
        metric > L2) {
        PyErr_SetString(PyExc_ValueError, "centre, slots, metric: not what a shadow has");
        return false;
    }
    Py_ssize_t groups = (slots + TILE_ROWS - 1) / TILE_ROWS * TILE_GROUPS;
    Py_ssize_t group_bytes = (Py_ssize_t)shadow_steps((size_t)dim) * STEP_BYTES;
    Py_ssize_t group_factors = FACTORS * GROUP_ROWS;
    if (!take_array(taken, codes, "codes", U8, groups * group_bytes, access, &taken_codes) ||
        !take_array(taken, factors, "factors", F32, groups * group_factors, access, &taken_factors))
        return false;
    if ((uintptr_t)taken_codes.data % STEP_BYTES || (uintptr_t)taken_factors.data % STEP_BYTES) {
        PyErr_SetString(PyExc_ValueError, "codes, factors: not at a 64-byte boundary");
        return false;
    }
    out->nibbles = NULL;
    out->coarse = NULL;
    out->codes = taken_codes.data;
    out->factors = taken_factors.data;
    out->centre = taken_centre.data;
    out->dim = (size_t)dim;
    out->slots = (size_t)slots;
    out->metric = (omendb_metric)metric;
    return true;
}

bool take_nibbles(
    taken_arrays *taken, PyObject *object, enum access access, omendb_shadow *shadow)
{
    PyObject *nibbles, *coarse;
    array taken_nibbles, taken_coarse;
    if (object == Py_None)
        return true;
    if (!PyTuple_Check(object))
        return PyErr_SetString(PyExc_TypeError, "nibbles: a tuple or None"), false;
    if (!PyArg_ParseTuple(object, "OO", &nibbles, &coarse))
        return false;
    Py_ssize_t groups = (Py_ssize_t)(shadow->slots + TILE_ROWS - 1) / TILE_ROWS * TILE_GROUPS;
    Py_ssize_t group_bytes = (Py_ssize_t)shadow_coarse_steps(shadow->dim) * STEP_BYTES;
    if (!take_array(taken, nibbles, "nibbles", U8, groups * group_bytes, access, &taken_nibbles) ||
        !take_array(
            taken, coarse, "coarse", F32, groups * COARSE_FACTORS * GROUP_ROWS, access, &taken_coarse))
        return false;
    if ((uintptr_t)taken_nibbles.data % STEP_BYTES || (uintptr_t)taken_coarse.data % STEP_BYTES) {
        PyErr_SetString(PyExc_ValueError, "nibbles, coarse: not at a 64-byte boundary");
        return false;
    }
    shadow->nibbles = taken_nibbles.data;
    shadow->coarse = taken_coarse.data;
    return true;
}

/* shadow_write(codes, factors, nibbles, centre, slots, metric, first, rows): rows into the slots from first on. */
PyObject *native_shadow_write(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *codes, *factors, *nibbles, *centre, *row_object, *result = NULL;
    Py_ssize_t slots, first;
    int metric;
    taken_arrays taken = {0};
    omendb_shadow shadow;
    row_array rows;
    if (!PyArg_ParseTuple(
            arguments, "OOOOninO", &codes, &factors, &nibbles, &centre, &slots, &metric, &first,
            &row_object))
        return NULL;
    if (!take_shadow(&taken, codes, factors, centre, slots, metric, TO_WRITE, &shadow) ||
        !take_nibbles(&taken, nibbles, TO_WRITE, &shadow) ||
        !take_rows(&taken, row_object, "rows", &rows))
        goto done;
    if ((size_t)rows.dim != shadow.dim || (rows.stride != rows.dim && rows.count > 1) || first < 0 ||
        first > slots - rows.count) {
        PyErr_SetString(PyExc_ValueError, "rows: not rows of this shadow, or not for these slots");
        goto done;
    }
    PyThreadState *state = let_go_for(rows.count * rows.dim);
    shadow_write(&shadow, (size_t)first, rows.data, (size_t)rows.count);
    come_back(state);
    result = Py_NewRef(Py_None);
done:
    give_back(&taken);
    return result;
}

static bool are_sound(const omendb_scan *scan, Py_ssize_t wanted_most, Py_ssize_t used_words)
{
    int64_t wanted = 0;
    if ((Py_ssize_t)scan->words < used_words)
        return PyErr_SetString(PyExc_ValueError, "masks: too short for the ring"), false;
    for (size_t i = 0; i < scan->count; i++) {
        if (scan->mask_of[i] < 0 || (size_t)scan->mask_of[i] >= scan->mask_count)
            return PyErr_SetString(PyExc_IndexError, "mask_of: beyond the masks"), false;
        if (scan->k[i] < 1 || scan->k[i] > wanted_most - wanted)
            return PyErr_SetString(PyExc_ValueError, "k: below 1, or no room for as many"), false;
        wanted += scan->k[i];
    }
    return true;
}

/* The rows of the ring, and what is asked of them. Arrays are in the order of the arguments. */
static bool take_question(
    taken_arrays *taken, PyObject *const *objects, unsigned long long last_seq, omendb_scan *scan)
{
    row_array vectors, queries;
    array k, min_scores, masks, mask_of, counts, slots, scores;
    if (!take_rows(taken, objects[0], "vectors", &vectors) ||
        !take_rows(taken, objects[1], "queries", &queries) ||
        !take_array(taken, objects[2], "k", I64, queries.count, TO_READ, &k) ||
        !take_array(taken, objects[3], "min_scores", F32, queries.count, TO_READ, &min_scores) ||
        !take_array(taken, objects[4], "masks", U64, -1, TO_READ, &masks) ||
        !take_array(taken, objects[5], "mask_of", I64, queries.count, TO_READ, &mask_of) ||
        !take_array(taken, objects[6], "counts", U32, queries.count, TO_WRITE, &counts) ||
        !take_array(taken, objects[7], "slots", I64, -1, TO_WRITE, &slots) ||
        !take_array(taken, objects[8], "scores", F32, slots.count, TO_WRITE, &scores))
        return false;
    size_t capacity = scan->shadow.slots, dim = scan->shadow.dim;
    size_t words = (capacity + TILE_ROWS - 1) / TILE_ROWS;
    if ((size_t)vectors.count != capacity || (size_t)vectors.dim != dim ||
        (size_t)queries.dim != dim || vectors.stride != vectors.dim ||
        (queries.stride != queries.dim && queries.count > 1)) {
        PyErr_SetString(PyExc_ValueError, "vectors, queries: of another shape than the shadow");
        return false;
    }
    scan->rows.used = last_seq < capacity ? (size_t)last_seq : capacity;
    scan->rows.vectors = vectors.data;
    scan->rows.slots = capacity;
    scan->rows.dim = dim;
    scan->rows.oldest = (size_t)(last_seq % capacity);
    scan->rows.is_l2 = scan->shadow.metric == L2;
    scan->queries = queries.data;
    scan->count = (size_t)queries.count;
    scan->k = k.data;
    scan->min_scores = min_scores.data;
    scan->masks = masks.data;
    scan->words = words;
    scan->mask_count = (size_t)masks.count / words;
    scan->mask_of = mask_of.data;
    scan->counts = counts.data;
    scan->slots = slots.data;
    scan->scores = scores.data;
    return are_sound(scan, slots.count, (Py_ssize_t)words);
}

/* How rows are ordered: None, by score; else by decay, which is (integers, numbers, per_second,
 * never_fall, latest, half_lives, values): times by slot in one of the first two, the other being None;
 * latest by word, or None; see order.h. */
static bool take_decay(
    taken_arrays *taken, PyObject *object, Py_ssize_t wanted, omendb_scan *scan, omendb_times *times)
{
    PyObject *integer_object, *number_object, *latest_object, *half_life_object, *value_object;
    const Py_ssize_t capacity = (Py_ssize_t)scan->rows.slots, count = (Py_ssize_t)scan->count;
    array integers = {0}, numbers = {0}, latest = {0}, half_lives, values;
    if (object == Py_None)
        return true;
    int never_fall;
    if (!PyArg_ParseTuple(
            object, "OOdpOOO", &integer_object, &number_object, &times->per_second, &never_fall,
            &latest_object, &half_life_object, &value_object))
        return false;
    if ((integer_object == Py_None) == (number_object == Py_None))
        return PyErr_SetString(PyExc_ValueError, "times: integers or numbers"), false;
    if ((integer_object != Py_None &&
         !take_array(taken, integer_object, "integers", I64, capacity, TO_READ, &integers)) ||
        (number_object != Py_None &&
         !take_array(taken, number_object, "numbers", F64, capacity, TO_READ, &numbers)) ||
        (latest_object != Py_None &&
         !take_array(taken, latest_object, "latest", F64, (Py_ssize_t)scan->words, TO_READ, &latest)) ||
        !take_array(taken, half_life_object, "half_lives", F64, count, TO_READ, &half_lives) ||
        !take_array(taken, value_object, "values", F64, wanted, TO_WRITE, &values))
        return false;
    times->never_fall = never_fall;
    times->latest = latest.data;
    times->integers = integers.data;
    times->numbers = numbers.data;
    times->functions = omendb_functions_named(scan->rows.lanes->name);
    scan->times = times;
    scan->half_lives = half_lives.data;
    scan->values = values.data;
    return true;
}

/* top_k(kernel, lanes, codes, factors, nibbles, centre, metric, vectors, last_seq, queries, k, min_scores, masks,
 * mask_of, counts, slots, scores, decay, threads) -> how many slots and scores were written, and for how many of the
 * queries every row was scored. */
PyObject *native_top_k(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *kernel, *lanes;
    PyObject *codes, *factors, *nibbles, *centre, *decay, *objects[9];
    unsigned long long last_seq;
    int metric;
    taken_arrays taken = {0};
    omendb_scan scan = {0};
    omendb_times times = {0};
    int64_t total = -1;
    Py_ssize_t threads;
    size_t thorough = 0;
    if (!PyArg_ParseTuple(
            arguments, "ssOOOOiOKOOOOOOOOOn", &kernel, &lanes, &codes, &factors, &nibbles, &centre,
            &metric, &objects[0], &last_seq, &objects[1], &objects[2], &objects[3], &objects[4], &objects[5],
            &objects[6], &objects[7], &objects[8], &decay, &threads))
        return NULL;
    scan.kernel = omendb_kernel_named(kernel);
    if (scan.kernel == NULL)
        return PyErr_Format(PyExc_ValueError, "kernel: this machine has no %s", kernel);
    scan.rows.lanes = take_lanes(lanes);
    if (scan.rows.lanes == NULL)
        return NULL;
    Py_ssize_t slots = PyObject_Length(objects[0]);
    if (slots < 0 || !take_shadow(
                         &taken, codes, factors, centre, slots, metric, TO_READ, &scan.shadow) ||
        !take_nibbles(&taken, nibbles, TO_READ, &scan.shadow) ||
        !take_question(&taken, objects, last_seq, &scan) ||
        !take_decay(&taken, decay, PyObject_Length(objects[7]), &scan, &times)) {
        give_back(&taken);
        return NULL;
    }
    PyThreadState *state = let_go_for((Py_ssize_t)(scan.rows.used * scan.shadow.dim));
    scan.thorough = &thorough;
    scan.threads = threads > 0 ? (size_t)threads : 1;
    total = omendb_top_k(&scan);
    come_back(state);
    give_back(&taken);
    return total < 0 ? PyErr_NoMemory()
                     : Py_BuildValue("nn", (Py_ssize_t)total, (Py_ssize_t)thorough);
}

/* dismiss_helpers() -> how many threads helped with scans; now none does. */
PyObject *native_dismiss_helpers(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    const size_t count = helpers_count();
    PyThreadState *state = PyEval_SaveThread();
    helpers_dismiss();
    PyEval_RestoreThread(state);
    return PyLong_FromSize_t(count);
}

/* Whether the queries fit, and the slots first … first + rows - 1 are whole words of the shadow's. */
static bool are_whole_words(
    const omendb_shadow *shadow, const row_array *queries, Py_ssize_t first, Py_ssize_t rows)
{
    Py_ssize_t slots = (Py_ssize_t)(shadow->slots + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    return (size_t)queries->dim == shadow->dim &&
           (queries->stride == queries->dim || queries->count <= 1) && rows % TILE_ROWS == 0 &&
           first % TILE_ROWS == 0 && first >= 0 && first <= slots - rows;
}

/* score_bounds(kernel, codes, factors, centre, slots, metric, queries, first, lower, upper): of the slots
 * from first on, as many as lower and upper have for each query. */
PyObject *native_score_bounds(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *kernel;
    PyObject *codes, *factors, *centre, *query_object, *lower_object, *upper_object, *result = NULL;
    Py_ssize_t slots, first;
    int metric;
    taken_arrays taken = {0};
    row_array queries;
    array lower, upper;
    omendb_score_bounds asked = {0};
    if (!PyArg_ParseTuple(
            arguments, "sOOOniOnOO", &kernel, &codes, &factors, &centre, &slots, &metric,
            &query_object, &first, &lower_object, &upper_object))
        return NULL;
    asked.kernel = omendb_kernel_named(kernel);
    if (asked.kernel == NULL)
        return PyErr_Format(PyExc_ValueError, "kernel: this machine has no %s", kernel);
    if (!take_shadow(&taken, codes, factors, centre, slots, metric, TO_READ, &asked.shadow) ||
        !take_rows(&taken, query_object, "queries", &queries) ||
        !take_array(&taken, lower_object, "lower", F32, -1, TO_WRITE, &lower) ||
        !take_array(&taken, upper_object, "upper", F32, lower.count, TO_WRITE, &upper))
        goto done;
    Py_ssize_t rows = queries.count > 0 ? lower.count / queries.count : 0;
    if (!are_whole_words(&asked.shadow, &queries, first, rows) ||
        rows * queries.count != lower.count) {
        PyErr_SetString(PyExc_ValueError, "queries, first, lower: not whole words of the shadow");
        goto done;
    }
    asked.queries = queries.data;
    asked.count = (size_t)queries.count;
    asked.first = (size_t)first;
    asked.tiles = (size_t)(rows / TILE_ROWS);
    asked.lower = lower.data;
    asked.upper = upper.data;
    PyThreadState *state = let_go_for(rows * queries.dim);
    bool is_done = score_bounds(&asked);
    come_back(state);
    result = is_done ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    give_back(&taken);
    return result;
}

/* So that no number of rows overflows. */
#define MOST_BLOCK_ROWS ((Py_ssize_t)1 << 30)

/* Queries, floors, the mask, counts and what is found; blocks of so many rows from first on. */
static bool take_blocks(
    taken_arrays *taken, PyObject *const *objects, Py_ssize_t first, Py_ssize_t block_rows,
    omendb_reaching *asked)
{
    row_array queries;
    array floors, mask, counts, found;
    Py_ssize_t words = (Py_ssize_t)(asked->shadow.slots + TILE_ROWS - 1) / TILE_ROWS;
    if (!take_rows(taken, objects[0], "queries", &queries) ||
        !take_array(taken, objects[1], "floors", F32, -1, TO_READ, &floors) ||
        !take_array(taken, objects[2], "mask", U64, words, TO_READ, &mask) ||
        !take_array(taken, objects[3], "counts", I64, queries.count, TO_WRITE, &counts) ||
        !take_array(taken, objects[4], "found", I64, -1, TO_WRITE, &found))
        return false;
    Py_ssize_t count = queries.count > 0 ? queries.count : 1;
    Py_ssize_t blocks = floors.count / count, most = found.count / count;
    if (!are_whole_words(&asked->shadow, &queries, first, 0) || block_rows < TILE_ROWS ||
        block_rows % TILE_ROWS != 0 || block_rows > MOST_BLOCK_ROWS || blocks > words + 1 ||
        blocks * queries.count != floors.count || most * queries.count != found.count) {
        PyErr_SetString(PyExc_ValueError, "queries, first, block_rows, floors: not of the shadow");
        return false;
    }
    asked->queries = queries.data;
    asked->count = (size_t)queries.count;
    asked->first = (size_t)first;
    asked->block_tiles = (size_t)(block_rows / TILE_ROWS);
    asked->blocks = (size_t)blocks;
    asked->floors = floors.data;
    asked->mask = mask.data;
    asked->most = (size_t)most;
    asked->counts = counts.data;
    asked->slots = found.data;
    return true;
}

/* rows_reaching(kernel, codes, factors, centre, slots, metric, queries, first, block_rows, floors, mask,
 * counts, found): the slots of mask, in blocks of so many rows from first on, that may score the floor of
 * their block, to found, as many for each query as counts says; more than there is room for: any number. */
PyObject *native_rows_reaching(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *kernel;
    PyObject *codes, *factors, *centre, *objects[5], *result = NULL;
    Py_ssize_t slots, first, block_rows;
    int metric;
    taken_arrays taken = {0};
    omendb_reaching asked = {0};
    if (!PyArg_ParseTuple(
            arguments, "sOOOniOnnOOOO", &kernel, &codes, &factors, &centre, &slots, &metric,
            &objects[0], &first, &block_rows, &objects[1], &objects[2], &objects[3], &objects[4]))
        return NULL;
    asked.kernel = omendb_kernel_named(kernel);
    if (asked.kernel == NULL)
        return PyErr_Format(PyExc_ValueError, "kernel: this machine has no %s", kernel);
    if (!take_shadow(&taken, codes, factors, centre, slots, metric, TO_READ, &asked.shadow) ||
        !take_blocks(&taken, objects, first, block_rows, &asked))
        goto done;
    PyThreadState *state =
        let_go_for(block_rows * (Py_ssize_t)(asked.blocks * asked.shadow.dim));
    bool is_done = rows_reaching(&asked);
    come_back(state);
    result = is_done ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    give_back(&taken);
    return result;
}
