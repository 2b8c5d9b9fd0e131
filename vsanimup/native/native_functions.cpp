// Functions that vsanimup.bridge gets from native code, as Python built-ins. They run with the GIL held.
// Handles are addresses handed out by BlockNode::compute and valid during that call only; the bridge
// sees to it that they are not used later.
#include "block_node.hpp"
#include "deband.hpp"
#include "gate.hpp"
#include "sigma.hpp"

#include <cstring>
#include <vector>

const VSAPI *g_vsapi = nullptr;

namespace {

const PythonApi *g_py = nullptr;  // set before any of the functions can be reached

const VSFrame *frame_of(unsigned long long handle) { return reinterpret_cast<const VSFrame *>(handle); }

PyRef none() { return g_py->Py_BuildValue(""); }

PyRef text(const char *data, ptrdiff_t size) { return g_py->PyUnicode_DecodeUTF8(data, size, "surrogateescape"); }

// frame_prop(handle, name) -> int | float | str | None, the first value
PyRef frame_prop(PyRef, PyRef args) {
    unsigned long long handle;
    const char *name;
    if (!g_py->PyArg_ParseTuple(args, "Ks", &handle, &name))
        return nullptr;
    const VSMap *map = g_vsapi->getFramePropertiesRO(frame_of(handle));
    int error = 0;
    switch (g_vsapi->mapNumElements(map, name) > 0 ? g_vsapi->mapGetType(map, name) : ptUnset) {
        case ptInt:
            return g_py->Py_BuildValue("L", static_cast<long long>(g_vsapi->mapGetInt(map, name, 0, &error)));
        case ptFloat:
            return g_py->Py_BuildValue("d", g_vsapi->mapGetFloat(map, name, 0, &error));
        case ptData:
            return text(g_vsapi->mapGetData(map, name, 0, &error), g_vsapi->mapGetDataSize(map, name, 0, &error));
        default:
            return none();
    }
}

VSMap *writable_props(unsigned long long handle) {
    return g_vsapi->getFramePropertiesRW(const_cast<VSFrame *>(frame_of(handle)));
}

// frame_set_int(handle, name, value), …_float, …_text: True when set
PyRef frame_set_int(PyRef, PyRef args) {
    unsigned long long handle;
    const char *name;
    long long value;
    if (!g_py->PyArg_ParseTuple(args, "KsL", &handle, &name, &value))
        return nullptr;
    return g_py->Py_BuildValue("i", !g_vsapi->mapSetInt(writable_props(handle), name, value, maReplace));
}

PyRef frame_set_float(PyRef, PyRef args) {
    unsigned long long handle;
    const char *name;
    double value;
    if (!g_py->PyArg_ParseTuple(args, "Ksd", &handle, &name, &value))
        return nullptr;
    return g_py->Py_BuildValue("i", !g_vsapi->mapSetFloat(writable_props(handle), name, value, maReplace));
}

PyRef frame_set_text(PyRef, PyRef args) {
    unsigned long long handle;
    const char *name, *value;
    if (!g_py->PyArg_ParseTuple(args, "Kss", &handle, &name, &value))
        return nullptr;
    const int size = static_cast<int>(std::strlen(value));
    return g_py->Py_BuildValue("i", !g_vsapi->mapSetData(writable_props(handle), name, value, size, dtUtf8, maReplace));
}

// frame_keep(handle): never frees the frame's memory
PyRef frame_keep(PyRef, PyRef args) {
    unsigned long long handle;
    if (!g_py->PyArg_ParseTuple(args, "K", &handle))
        return nullptr;
    g_vsapi->addFrameRef(frame_of(handle));
    return none();
}

// block_unwanted(handle) -> bool: nobody wants the block that is being computed
PyRef block_unwanted(PyRef, PyRef args) {
    unsigned long long handle;
    if (!g_py->PyArg_ParseTuple(args, "K", &handle))
        return nullptr;
    return g_py->Py_BuildValue("i", reinterpret_cast<const std::atomic<bool> *>(handle)->load() ? 1 : 0);
}

// stop_nodes(group, seconds) -> bool; group < 0: all, and no thread enters Python afterwards
PyRef stop(PyRef, PyRef args) {
    long long group;
    double seconds;
    if (!g_py->PyArg_ParseTuple(args, "Ld", &group, &seconds))
        return nullptr;
    void *state = g_py->PyEval_SaveThread();
    bool ended = stop_nodes(group, seconds, "its script environment was closed");
    if (group < 0)
        ended = interpreter_gate::close(ended ? 1.0 : 0.0) && ended;
    g_py->PyEval_RestoreThread(state);
    return g_py->Py_BuildValue("i", ended ? 1 : 0);
}

// node_counts() -> (nodes, threads)
PyRef node_counts(PyRef, PyRef) {
    const BlockNode::Counts counts = BlockNode::counts();
    return g_py->Py_BuildValue("ii", counts.nodes, counts.threads);
}

// even_out(address, rows, columns, stride, threshold, radius): changes the plane of floats at the address, without the GIL
PyRef even_out(PyRef, PyRef args) {
    unsigned long long address;
    long long rows, columns, stride;
    double threshold;
    int radius;
    if (!g_py->PyArg_ParseTuple(args, "KLLLdi", &address, &rows, &columns, &stride, &threshold, &radius))
        return nullptr;
    void *state = g_py->PyEval_SaveThread();
    ::even_out(reinterpret_cast<float *>(address), static_cast<ptrdiff_t>(rows), static_cast<ptrdiff_t>(columns),
               static_cast<ptrdiff_t>(stride), static_cast<float>(threshold), radius);
    g_py->PyEval_RestoreThread(state);
    return none();
}

// A plane as vsanimup.networks.lite.gate describes it to native code: address, rows, columns, distance between rows.
PlaneView plane_at(const long long *table) {
    return {reinterpret_cast<float *>(table[0]), static_cast<ptrdiff_t>(table[1]), static_cast<ptrdiff_t>(table[2]),
            static_cast<ptrdiff_t>(table[3])};
}

// source, plain, network, evened
Passage passage_at(const long long *table) {
    return {plane_at(table), plane_at(table + 4), plane_at(table + 8), plane_at(table + 12)};
}

// enlarge(table of two planes, left); this and all below without the GIL
PyRef enlarge(PyRef, PyRef args) {
    unsigned long long table;
    int left;
    if (!g_py->PyArg_ParseTuple(args, "Ki", &table, &left))
        return nullptr;
    const auto *planes = reinterpret_cast<const long long *>(table);
    void *state = g_py->PyEval_SaveThread();
    ::enlarge(plane_at(planes), left != 0, plane_at(planes + 4));
    g_py->PyEval_RestoreThread(state);
    return none();
}

// measure_cells(table of passages, their count, measures)
PyRef measure_cells(PyRef, PyRef args) {
    unsigned long long table, measures;
    int count;
    if (!g_py->PyArg_ParseTuple(args, "KiK", &table, &count, &measures))
        return nullptr;
    void *state = g_py->PyEval_SaveThread();
    std::vector<Passage> passages;
    for (int i = 0; i < count; i++)
        passages.push_back(passage_at(reinterpret_cast<const long long *>(table) + 16 * i));
    ::measure_cells(passages.data(), count, reinterpret_cast<float *>(measures));
    g_py->PyEval_RestoreThread(state);
    return none();
}

// predict_shares(measures, rows, columns, weights, hidden, hidden, shares)
PyRef predict_shares(PyRef, PyRef args) {
    unsigned long long measures, weights, shares;
    long long rows, columns;
    int first, second;
    if (!g_py->PyArg_ParseTuple(args, "KLLKiiK", &measures, &rows, &columns, &weights, &first, &second, &shares))
        return nullptr;
    void *state = g_py->PyEval_SaveThread();
    ::predict_shares(reinterpret_cast<const float *>(measures), static_cast<ptrdiff_t>(rows), static_cast<ptrdiff_t>(columns),
                     {reinterpret_cast<const float *>(weights), {first, second}}, reinterpret_cast<float *>(shares));
    g_py->PyEval_RestoreThread(state);
    return none();
}

// blend_shares(table of a passage, change, evening, rows, columns, cell)
PyRef blend_shares(PyRef, PyRef args) {
    unsigned long long table, change, evening;
    long long rows, columns, cell;
    if (!g_py->PyArg_ParseTuple(args, "KKKLLL", &table, &change, &evening, &rows, &columns, &cell))
        return nullptr;
    void *state = g_py->PyEval_SaveThread();
    ::blend_shares(passage_at(reinterpret_cast<const long long *>(table)), reinterpret_cast<const float *>(change),
                   reinterpret_cast<const float *>(evening), static_cast<ptrdiff_t>(rows), static_cast<ptrdiff_t>(columns),
                   static_cast<ptrdiff_t>(cell));
    g_py->PyEval_RestoreThread(state);
    return none();
}

// deband(ranks, rows, columns, levels' values, least, most, joined, shares, result)
PyRef deband(PyRef, PyRef args) {
    unsigned long long ranks, values, least, most, joined, shares, result;
    long long rows, columns;
    if (!g_py->PyArg_ParseTuple(args, "KLLKKKKKK", &ranks, &rows, &columns, &values, &least, &most, &joined, &shares, &result))
        return nullptr;
    const Levels levels = {reinterpret_cast<const float *>(values), reinterpret_cast<const float *>(least),
                           reinterpret_cast<const float *>(most), reinterpret_cast<const uint8_t *>(joined)};
    void *state = g_py->PyEval_SaveThread();
    ::deband(reinterpret_cast<const uint16_t *>(ranks), static_cast<ptrdiff_t>(rows), static_cast<ptrdiff_t>(columns), levels,
             reinterpret_cast<float *>(shares), reinterpret_cast<float *>(result));
    g_py->PyEval_RestoreThread(state);
    return none();
}

constexpr int varargs = 1;  // METH_VARARGS

PyMethodTable methods[] = {
    {"frame_prop", frame_prop, varargs, nullptr},           {"frame_set_int", frame_set_int, varargs, nullptr},
    {"frame_set_float", frame_set_float, varargs, nullptr}, {"frame_set_text", frame_set_text, varargs, nullptr},
    {"frame_keep", frame_keep, varargs, nullptr},           {"block_unwanted", block_unwanted, varargs, nullptr},
    {"stop_nodes", stop, varargs, nullptr},                 {"node_counts", node_counts, varargs, nullptr},
    {"even_out", even_out, varargs, nullptr},               {"enlarge", enlarge, varargs, nullptr},
    {"measure_cells", measure_cells, varargs, nullptr},     {"predict_shares", predict_shares, varargs, nullptr},
    {"blend_shares", blend_shares, varargs, nullptr},       {"deband", deband, varargs, nullptr},
};

}  // namespace

PyRef native_functions(const PythonApi &py) {
    g_py = &py;
    const ptrdiff_t count = sizeof methods / sizeof methods[0];
    PyRef result = py.PyTuple_New(count);
    for (ptrdiff_t i = 0; i < count; i++)
        py.PyTuple_SetItem(result, i, py.PyCFunction_NewEx(&methods[i], nullptr, nullptr));
    return result;
}
