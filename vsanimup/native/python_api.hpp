// The handful of CPython functions the plugin uses, looked up at run time in the host process.
// All of them belong to the stable ABI, so that one binary serves every Python 3.12+.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

struct PyObjectOpaque;
using PyPointer = PyObjectOpaque *;  // a PyObject* as the interpreter takes and gives it; what is owned is in a PyRef

extern "C" {
typedef PyPointer (*PyMethod)(PyPointer self, PyPointer args);
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
    PyPointer (*PyImport_ImportModule)(const char *);
    PyPointer (*PyObject_GetAttrString)(PyPointer, const char *);
    PyPointer (*PyObject_CallObject)(PyPointer, PyPointer);
    PyPointer (*PyObject_Str)(PyPointer);
    PyPointer (*PyTuple_New)(ptrdiff_t);
    int (*PyTuple_SetItem)(PyPointer, ptrdiff_t, PyPointer);
    PyPointer (*PyTuple_GetItem)(PyPointer, ptrdiff_t);
    PyPointer (*PyMemoryView_FromMemory)(char *, ptrdiff_t, int);
    PyPointer (*PyUnicode_DecodeUTF8)(const char *, ptrdiff_t, const char *);
    const char *(*PyUnicode_AsUTF8AndSize)(PyPointer, ptrdiff_t *);
    PyPointer (*PyCFunction_NewEx)(PyMethodTable *, PyPointer, PyPointer);
    PyPointer (*Py_BuildValue)(const char *, ...);
    int (*PyArg_ParseTuple)(PyPointer, const char *, ...);
    void (*PyErr_Fetch)(PyPointer *, PyPointer *, PyPointer *);
    void (*PyErr_NormalizeException)(PyPointer *, PyPointer *, PyPointer *);
    void (*PyErr_Clear)();
    void (*Py_IncRef)(PyPointer);
    void (*Py_DecRef)(PyPointer);
};

// The interpreter of this process, or nullptr where there is none (yet).
const PythonApi *python_api();

// Owns a reference and gives it back when it goes, which must be with the GIL held; or none, after a failed call.
class PyRef {
  public:
    PyRef() = default;
    PyRef(const PythonApi &py, PyPointer owned) : py_(&py), pointer_(owned) {}
    PyRef(PyRef &&other) noexcept : py_(other.py_), pointer_(other.release()) {}
    PyRef &operator=(PyRef &&other) noexcept {
        std::swap(py_, other.py_);
        std::swap(pointer_, other.pointer_);
        return *this;
    }
    ~PyRef() {
        if (pointer_)
            py_->Py_DecRef(pointer_);
    }
    explicit operator bool() const { return pointer_ != nullptr; }
    PyPointer get() const { return pointer_; }
    // To one who takes the reference over, as PyTuple_SetItem does and the N of Py_BuildValue; or never to be given back.
    PyPointer release() { return std::exchange(pointer_, nullptr); }

  private:
    const PythonApi *py_ = nullptr;
    PyPointer pointer_ = nullptr;
};

// The steps that most calls are made of; each is none where it or what it is given failed. Need the GIL.
PyRef imported(const PythonApi &py, const char *module);
PyRef attribute(const PythonApi &py, const PyRef &holder, const char *name);
PyRef call(const PythonApi &py, const PyRef &callable, const PyRef &arguments);

// Takes and clears the pending Python exception; "Type: text". Needs the GIL.
std::string take_python_error(const PythonApi &py);

// A Python str as UTF-8; empty when it is none. Needs the GIL.
std::string utf8(const PythonApi &py, const PyRef &text);

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
