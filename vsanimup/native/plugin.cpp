// The plugin's entry point, its functions, and how they hand over to vsanimup.plugin.
#include "block_node.hpp"
#include "checked.hpp"
#include "signatures.hpp"
#include "temporal.hpp"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#elif defined(__APPLE__)
#include <dlfcn.h>
#endif

namespace {

// A function a script can call. What it does is looked up by its name in vsanimup.plugin.
struct PublicFunction {
    const char *name, *arguments, *result;
};

const PublicFunction public_functions[] = {
    {"Restore", restore_arguments, "clip:vnode;"},
    {"Upscale", upscale_arguments, "clip:vnode;"},
    {"Version", "", "any"},
};

// The call that is being answered on this thread. Python reads its arguments and writes its result
// by calling internal_arguments and internal_result, so that no VSNode needs wrapping by hand.
struct Call {
    const VSMap *in;
    VSMap *out;
    VSCore *core;
    Call *outer;
};

thread_local Call *current_call = nullptr;

struct CallScope {
    Call call;
    CallScope(const VSMap *in, VSMap *out, VSCore *core) : call{in, out, core, current_call} { current_call = &call; }
    ~CallScope() { current_call = call.outer; }
};

// sys.executable, for messages
std::string executable(const PythonApi &py) {
    PyRef sys = py.PyImport_ImportModule("sys");
    PyRef path = sys ? py.PyObject_GetAttrString(sys, "executable") : nullptr;
    std::string result = path ? utf8(py, path) : std::string();
    py.PyErr_Clear();
    for (PyRef ref : {sys, path})
        if (ref)
            py.Py_DecRef(ref);
    return result.empty() ? "this process's Python" : result;
}

// An attribute of vsanimup.bridge or vsanimup.plugin; the bridge is given the native functions first. Null
// and `error` set when the package cannot be imported. New reference; needs the GIL.
PyRef own_attribute(const PythonApi &py, const char *module, const char *name, std::string &error) {
    PyRef bridge = py.PyImport_ImportModule("vsanimup.bridge");
    if (!bridge) {
        error = "cannot import vsanimup into " + executable(py) + ": " + take_python_error(py);
        return nullptr;
    }
    static bool attached = false;  // guarded by the GIL
    if (!attached) {
        PyRef attach = py.PyObject_GetAttrString(bridge, "attach");
        PyRef functions = native_functions(py);
        PyRef result = attach ? py.PyObject_CallObject(attach, functions) : nullptr;
        attached = result != nullptr;
        for (PyRef ref : {attach, functions, result})
            if (ref)
                py.Py_DecRef(ref);
    }
    py.Py_DecRef(bridge);
    PyRef holder = attached ? py.PyImport_ImportModule(module) : nullptr;
    PyRef attribute = holder ? py.PyObject_GetAttrString(holder, name) : nullptr;
    if (!attribute)
        error = (attached && !holder ? "cannot import vsanimup into " + executable(py) + ": "
                                     : "vsanimup and its plugin do not fit each other, install it anew: ") +
                take_python_error(py);
    if (holder)
        py.Py_DecRef(holder);
    return attribute;
}

void VS_CC call_python(const VSMap *in, VSMap *out, void *data, VSCore *core, const VSAPI *vsapi) {
    const auto *function = static_cast<const PublicFunction *>(data);
    const std::string prefix = std::string(function->name) + ": ";
    g_vsapi = vsapi;
    std::string error;
    {
        Gil gil;
        if (!gil.api) {
            error = prefix + (interpreter_gate::closed()
                                  ? "the Python interpreter is shutting down"
                                  : "no Python interpreter in this process (animup runs inside Python hosts such as "
                                    "vspipe, vsedit, vsview)");
        } else {
            const PythonApi &py = *gil.api;
            PyRef invoke = own_attribute(py, "vsanimup.plugin", "invoke", error);
            if (!invoke) {
                error = prefix + error;
            } else {
                CallScope scope(in, out, core);
                PyRef arguments = py.Py_BuildValue("(s)", function->name);
                PyRef result = py.PyObject_CallObject(invoke, arguments);
                error = result ? utf8(py, result) : prefix + "internal error: " + take_python_error(py);
                for (PyRef ref : {invoke, arguments, result})
                    if (ref)
                        py.Py_DecRef(ref);
            }
        }
    }
    if (error.empty() && vsapi->mapNumKeys(out) == 0)
        error = prefix + "internal error: no result";
    if (!error.empty()) {
        vsapi->clearMap(out);
        vsapi->mapSetError(out, error.c_str());
    }
}

Call *call_on(VSCore *core, VSMap *out, const VSAPI *vsapi) {
    const char *problem = !current_call ? "called outside of a function of this plugin"
                          : current_call->core != core ? "the active script environment is not the one of the call"
                                                       : nullptr;
    if (!problem)
        return current_call;
    vsapi->mapSetError(out, problem);
    return nullptr;
}

// The arguments of the present call, and one key more so that one argument alone keeps its name.
void VS_CC internal_arguments(const VSMap *, VSMap *out, void *, VSCore *core, const VSAPI *vsapi) {
    if (Call *call = call_on(core, out, vsapi)) {
        vsapi->copyMap(call->in, out);
        vsapi->mapSetInt(out, "internal_keys", vsapi->mapNumKeys(call->in), maReplace);
    }
}

void VS_CC internal_result(const VSMap *in, VSMap *out, void *, VSCore *core, const VSAPI *vsapi) {
    if (Call *call = call_on(core, out, vsapi))
        vsapi->copyMap(in, call->out);
}

// The callback is not passed but fetched from the bridge by its key, so that no argument can be an
// address.
bool take_callback(int64_t key, Callback &callback, std::string &error) {
    Gil gil;
    if (!gil.api) {
        error = "the Python interpreter is shutting down";
        return false;
    }
    const PythonApi &py = *gil.api;
    PyRef take = own_attribute(py, "vsanimup.bridge", "take_callback", error);
    if (!take)
        return false;
    PyRef arguments = py.Py_BuildValue("(L)", static_cast<long long>(key));
    PyRef three = py.PyObject_CallObject(take, arguments);
    if (three) {
        callback = {py.PyTuple_GetItem(three, 0), py.PyTuple_GetItem(three, 1), py.PyTuple_GetItem(three, 2)};
        for (PyRef ref : {callback.run, callback.cancel, callback.close})
            py.Py_IncRef(ref);
    } else {
        error = take_python_error(py);
    }
    for (PyRef ref : {take, arguments, three})
        if (ref)
            py.Py_DecRef(ref);
    return three != nullptr;
}

const char internal_block_arguments[] =
    "clip:vnode;callback:int;function:data;block:int;grid:int;before:int;after:int;width:int;height:int;format:int;"
    "spans:vnode:opt;streams:int;cached_blocks:int;prefetch:int;group:int;";

// A node of our kind; the arguments were checked by the bridge, those that could crash are checked again.
void VS_CC internal_block(const VSMap *in, VSMap *out, void *, VSCore *core, const VSAPI *vsapi) {
    auto number = [&](const char *name) { return vsapi->mapGetIntSaturated(in, name, 0, nullptr); };
    g_vsapi = vsapi;
    BlockSettings settings;
    int no_spans = 0;
    settings.function = vsapi->mapGetData(in, "function", 0, nullptr);
    settings.block = number("block");
    settings.grid = number("grid");
    settings.before = number("before");
    settings.after = number("after");
    settings.streams = number("streams");
    settings.cached_blocks = number("cached_blocks");
    VSNode *spans = vsapi->mapGetNode(in, "spans", 0, &no_spans);
    settings.prefetch = number("prefetch") != 0;
    settings.group = vsapi->mapGetInt(in, "group", 0, nullptr);

    VSNode *clip = vsapi->mapGetNode(in, "clip", 0, nullptr);
    settings.output = *vsapi->getVideoInfo(clip);
    std::string error;
    const VSVideoInfo &source = settings.output;
    if (source.format.colorFamily == cfUndefined || source.width <= 0 || source.height <= 0)
        error = "clip must have one format and size throughout";
    else if (settings.block < 1 || settings.grid < 1 || settings.before < 0 || settings.after < 0 || settings.streams < 1 || settings.cached_blocks < 1)
        error = "block, grid, streams and cached_blocks must be at least 1, before and after at least 0";
    else if (spans && (settings.block != 1 || settings.grid != 1))
        error = "spans go with block and grid of 1";
    else if (spans && vsapi->getVideoInfo(spans)->numFrames != source.numFrames)
        error = "spans must be told of as many frames as clip has";
    VSVideoInfo &vi = settings.output;
    vi.width = number("width");
    vi.height = number("height");
    if (error.empty() && !vsapi->getVideoFormatByID(&vi.format, static_cast<uint32_t>(number("format")), core))
        error = "unknown format";
    if (error.empty() && (vi.width < 1 || vi.height < 1 || vi.width % (1 << vi.format.subSamplingW) || vi.height % (1 << vi.format.subSamplingH)))
        error = "size " + std::to_string(vi.width) + "x" + std::to_string(vi.height) + " does not fit the format's subsampling";

    Callback callback;
    VSNode *node = nullptr;
    const std::string function = settings.function;
    if (error.empty() && take_callback(vsapi->mapGetInt(in, "callback", 0, nullptr), callback, error)) {
        node = BlockNode::create(std::move(settings), callback, clip, spans, core, vsapi);
        clip = spans = nullptr;
        if (!node)
            error = "VapourSynth could not create the filter";
    }
    vsapi->freeNode(clip);
    vsapi->freeNode(spans);
    if (node)
        vsapi->mapConsumeNode(out, "clip", node, maAppend);
    else
        vsapi->mapSetError(out, (function + ": " + error).c_str());
}

// Our threads may outlive the core, which unloads its plugins. Elsewhere the linker is told.
void stay_loaded() {
#ifdef _WIN32
    HMODULE self;
    GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                       reinterpret_cast<LPCSTR>(&public_functions), &self);
#elif defined(__APPLE__)
    Dl_info self;
    if (dladdr(public_functions, &self))
        dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE);
#endif
}

}  // namespace

VS_EXTERNAL_API(void) VapourSynthPluginInit2(VSPlugin *plugin, const VSPLUGINAPI *vspapi) {
    stay_loaded();
    vspapi->configPlugin("org.animup.vsanimup", "animup", "Restoration and upscaling of animation",
                         VS_MAKE_VERSION(ANIMUP_VERSION_MAJOR, ANIMUP_VERSION_MINOR), VAPOURSYNTH_API_VERSION, 0, plugin);
    for (const PublicFunction &function : public_functions)
        vspapi->registerFunction(function.name, function.arguments, function.result, call_python,
                                 const_cast<PublicFunction *>(&function), plugin);
    vspapi->registerFunction("internal_arguments", "", "any", internal_arguments, nullptr, plugin);
    vspapi->registerFunction("internal_result", "any", "any", internal_result, nullptr, plugin);
    vspapi->registerFunction("internal_block", internal_block_arguments, "clip:vnode;", internal_block, nullptr, plugin);
    vspapi->registerFunction("internal_checked", checked_arguments, "clip:vnode;", internal_checked, nullptr, plugin);
    vspapi->registerFunction("internal_temporal", temporal_arguments, "clip:vnode;", internal_temporal, nullptr, plugin);
}
