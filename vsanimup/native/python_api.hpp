// The handful of CPython functions the plugin uses, looked up at run time in the host process.
// All of them belong to the stable ABI, so that one binary serves every Python 3.12+.
#pragma once

#include <cstddef>
#include <string>

struct PyObjectOpaque;
using PyRef = PyObjectOpaque *;  // a PyObject*, owned or borrowed as the comment beside it says

extern "C" {
typedef PyRef (*PyMethod)(PyRef self, PyRef args);
}

// The layout of PyMethodDef is part of the stable ABI.
struct PyMethodTable {
    const char *name;
    PyMethod method;
    int flags;
    const char *doc;
};

struct PythonApi {
    int (*Py_IsInitialized)();
    int (*PyGILState_Ensure)();
    void (*PyGILState_Release)(int);
    void *(*PyEval_SaveThread)();
    void (*PyEval_RestoreThread)(void *);
    PyRef (*PyImport_ImportModule)(const char *);
    PyRef (*PyObject_GetAttrString)(PyRef, const char *);
    PyRef (*PyObject_CallObject)(PyRef, PyRef);
    PyRef (*PyObject_Str)(PyRef);
    PyRef (*PyTuple_New)(ptrdiff_t);
    int (*PyTuple_SetItem)(PyRef, ptrdiff_t, PyRef);
    PyRef (*PyTuple_GetItem)(PyRef, ptrdiff_t);
    PyRef (*PyMemoryView_FromMemory)(char *, ptrdiff_t, int);
    PyRef (*PyUnicode_DecodeUTF8)(const char *, ptrdiff_t, const char *);
    const char *(*PyUnicode_AsUTF8AndSize)(PyRef, ptrdiff_t *);
    PyRef (*PyCFunction_NewEx)(PyMethodTable *, PyRef, PyRef);
    PyRef (*Py_BuildValue)(const char *, ...);
    int (*PyArg_ParseTuple)(PyRef, const char *, ...);
    void (*PyErr_Fetch)(PyRef *, PyRef *, PyRef *);
    void (*PyErr_NormalizeException)(PyRef *, PyRef *, PyRef *);
    void (*PyErr_Clear)();
    void (*Py_IncRef)(PyRef);
    void (*Py_DecRef)(PyRef);
};

// The interpreter of this process, or nullptr where there is none (yet).
const PythonApi *python_api();

// Takes and clears the pending Python exception; "Type: text". Needs the GIL.
std::string take_python_error(const PythonApi &py);

// A Python str as UTF-8; empty when it is none. Needs the GIL.
std::string utf8(const PythonApi &py, PyRef text);

// Counts the threads that hold or may take the GIL, so that the interpreter can be left in peace
// before it is finalised: a thread that asks for the GIL afterwards is killed or hangs for ever.
namespace interpreter_gate {
bool enter();         // false once closed: stay out of Python
void leave();
bool close(double seconds);  // refuses newcomers, waits for those inside; false on timeout
bool closed();
}  // namespace interpreter_gate

// Holds the GIL while it lives. `api` is null when Python is absent or shutting down.
class Gil {
  public:
    Gil();
    ~Gil();
    Gil(const Gil &) = delete;
    Gil &operator=(const Gil &) = delete;
    const PythonApi *api = nullptr;

  private:
    int state_ = 0;
};
