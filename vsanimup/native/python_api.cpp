#include "python_api.hpp"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define PSAPI_VERSION 2
#include <windows.h>
// psapi.h needs windows.h first
#include <psapi.h>
#else
#include <dlfcn.h>
#endif

namespace {

#ifdef _WIN32
using Symbol = FARPROC;

// python3.dll forwards only the stable ABI and may not be loaded, so any module that has the
// functions will do.
HMODULE python_module() {
    HMODULE modules[1024];
    DWORD bytes = 0;
    if (!K32EnumProcessModules(GetCurrentProcess(), modules, sizeof modules, &bytes))
        return nullptr;
    size_t count = bytes / sizeof(HMODULE);
    if (count > 1024)
        count = 1024;
    for (size_t i = 0; i < count; i++)
        if (GetProcAddress(modules[i], "PyGILState_Ensure") && GetProcAddress(modules[i], "PyMemoryView_FromMemory"))
            return modules[i];
    return nullptr;
}

Symbol lookup(const char *name) {
    static HMODULE module = nullptr;
    if (!module)
        module = python_module();
    return module ? GetProcAddress(module, name) : nullptr;
}
#else
using Symbol = void *;

Symbol lookup(const char *name) { return dlsym(RTLD_DEFAULT, name); }
#endif

template <typename F>
bool find(F &function, const char *name) {
    Symbol symbol = lookup(name);
    static_assert(sizeof symbol == sizeof function, "function pointers of one size");
    std::memcpy(&function, &symbol, sizeof symbol);
    return symbol != nullptr;
}

bool find_all(PythonApi &py) {
#define FIND(name) find(py.name, #name)
    return FIND(Py_IsInitialized) && FIND(PyGILState_Ensure) && FIND(PyGILState_Release) && FIND(PyEval_SaveThread) &&
           FIND(PyEval_RestoreThread) && FIND(PyImport_ImportModule) && FIND(PyObject_GetAttrString) &&
           FIND(PyObject_CallObject) && FIND(PyObject_Str) && FIND(PyTuple_New) && FIND(PyTuple_SetItem) &&
           FIND(PyTuple_GetItem) && FIND(PyMemoryView_FromMemory) && FIND(PyUnicode_DecodeUTF8) &&
           FIND(PyUnicode_AsUTF8AndSize) && FIND(PyCFunction_NewEx) && FIND(Py_BuildValue) && FIND(PyArg_ParseTuple) &&
           FIND(PyErr_Fetch) && FIND(PyErr_NormalizeException) && FIND(PyErr_Clear) && FIND(Py_IncRef) && FIND(Py_DecRef);
#undef FIND
}

// Never destroyed: other threads may still use them while the process exits.
struct GateState {
    std::mutex mutex;
    std::condition_variable left;
    int inside = 0;
    bool closed = false;
};

GateState &gate() {
    static GateState *state = new GateState;
    return *state;
}

}  // namespace

const PythonApi *python_api() {
    static std::mutex mutex;
    static PythonApi py;
    static bool found = false;
    std::lock_guard<std::mutex> lock(mutex);
    if (!found)
        found = find_all(py);
    return found && py.Py_IsInitialized() ? &py : nullptr;
}

std::string utf8(const PythonApi &py, PyRef text) {
    ptrdiff_t size = 0;
    const char *data = text ? py.PyUnicode_AsUTF8AndSize(text, &size) : nullptr;
    if (!data) {
        py.PyErr_Clear();
        return {};
    }
    return std::string(data, static_cast<size_t>(size));
}

std::string take_python_error(const PythonApi &py) {
    PyRef type = nullptr, value = nullptr, trace = nullptr;
    py.PyErr_Fetch(&type, &value, &trace);
    py.PyErr_NormalizeException(&type, &value, &trace);
    std::string result;
    if (type) {
        PyRef name = py.PyObject_GetAttrString(type, "__name__");
        result = utf8(py, name);
        if (name)
            py.Py_DecRef(name);
    }
    if (value) {
        PyRef text = py.PyObject_Str(value);
        result += ": " + utf8(py, text);
        if (text)
            py.Py_DecRef(text);
    }
    py.PyErr_Clear();
    for (PyRef ref : {type, value, trace})
        if (ref)
            py.Py_DecRef(ref);
    return result;
}

namespace interpreter_gate {

bool enter() {
    GateState &g = gate();
    std::lock_guard<std::mutex> lock(g.mutex);
    if (g.closed)
        return false;
    g.inside++;
    return true;
}

void leave() {
    GateState &g = gate();
    std::lock_guard<std::mutex> lock(g.mutex);
    g.inside--;
    g.left.notify_all();
}

bool close(double seconds) {
    GateState &g = gate();
    std::unique_lock<std::mutex> lock(g.mutex);
    g.closed = true;
    return g.left.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return g.inside == 0; });
}

bool closed() {
    GateState &g = gate();
    std::lock_guard<std::mutex> lock(g.mutex);
    return g.closed;
}

}  // namespace interpreter_gate

Gil::Gil() {
    const PythonApi *py = python_api();
    if (!py || !interpreter_gate::enter())
        return;
    api = py;
    state_ = api->PyGILState_Ensure();
}

Gil::~Gil() {
    if (!api)
        return;
    api->PyGILState_Release(state_);
    interpreter_gate::leave();
}
