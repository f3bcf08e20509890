// A libcuda.so.1 without a GPU: device memory is host memory, every call is done when it returns.
//
// It has what tritorch and cuda-core ask for and nothing else; a function that is missing here is missing for the caller
// too. Memory has a limit (STUB_MEMORY bytes), and counters can be read: allocations, launches, copies. Streams can be
// held (stub_hold), so that tests see work that is not done yet. STUB_DEVICES and STUB_VERSION pretend other machines.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef uint64_t Pointer;
typedef void *Handle;
#define DRIVER __attribute__((visibility("default"))) Result
#define STUB __attribute__((visibility("default")))

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_CONTEXT = 201 };
enum { INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700 };
enum { CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901 };

static long setting(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

// ---- devices and contexts

static int initialised;
static __thread Handle current_context;
static int sticky_error;  // what every call answers after stub_fail
#define CHECKED if (!current_context) return INVALID_CONTEXT; if (sticky_error) return sticky_error

static Handle context_of(int device) { return (Handle)(uintptr_t)(0x1000 + device); }
static int device_of(Handle context) { return (int)((uintptr_t)context - 0x1000); }

DRIVER cuInit(unsigned flags) {
    initialised = setting("STUB_DEVICES", 1) > 0;
    return initialised ? SUCCESS : NO_DEVICE;
}
DRIVER cuDriverGetVersion(int *version) { *version = (int)setting("STUB_VERSION", 13000); return SUCCESS; }
DRIVER cuDeviceGetCount(int *count) {
    if (!initialised) return 3;
    *count = (int)setting("STUB_DEVICES", 1);
    return SUCCESS;
}
DRIVER cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal >= 0 && ordinal < setting("STUB_DEVICES", 1) ? SUCCESS : INVALID_DEVICE;
}
DRIVER cuDeviceGetName(char *name, int length, int device) { snprintf(name, length, "Stub GPU %d", device); return SUCCESS; }
DRIVER cuDeviceGetUuid(char *uuid, int device) { memset(uuid, 7 + device, 16); return SUCCESS; }
DRIVER cuDeviceTotalMem(size_t *bytes, int device) { *bytes = (size_t)setting("STUB_MEMORY", 64L << 20); return SUCCESS; }
DRIVER cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 1: *value = 1024; break;         // threads per block
    case 5: case 6: case 7: *value = attribute == 5 ? 2147483647 : 65535; break;  // grid
    case 8: *value = 49152; break;        // shared memory per block
    case 10: *value = 32; break;          // warp size
    case 13: *value = 1980000; break;     // clock, kHz
    case 16: *value = 132; break;         // multiprocessors
    case 36: *value = 3201000; break;     // memory's clock, kHz
    case 37: *value = 6144; break;        // memory's bus, bits
    case 38: *value = 2 << 20; break;     // L2 cache
    case 39: *value = 2048; break;        // threads per multiprocessor
    case 75: *value = 9; break;           // capability, major
    case 76: *value = 0; break;           // capability, minor
    case 97: *value = 232448; break;      // shared memory per block after opting in
    case 115: *value = 1; break;          // memory pools
    default: *value = 1;
    }
    return SUCCESS;
}
static unsigned retained;  // one bit for each device
DRIVER cuDevicePrimaryCtxRetain(Handle *context, int device) {
    retained |= 1u << device;
    *context = context_of(device);
    return SUCCESS;
}
DRIVER cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    *flags = 0;
    *active = retained >> device & 1;
    return SUCCESS;
}
DRIVER cuDevicePrimaryCtxRelease(int device) { return SUCCESS; }
DRIVER cuCtxSetCurrent(Handle context) { current_context = context; return SUCCESS; }
DRIVER cuCtxGetCurrent(Handle *context) { *context = current_context; return SUCCESS; }
DRIVER cuCtxPushCurrent(Handle context) { current_context = context; return SUCCESS; }
DRIVER cuCtxPopCurrent(Handle *context) { *context = current_context; return SUCCESS; }
DRIVER cuCtxGetDevice(int *device) { CHECKED; *device = device_of(current_context); return SUCCESS; }
DRIVER cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; return SUCCESS; }
DRIVER cuGetErrorName(Result error, const char **name) {
    *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS"
          : error == INVALID_HANDLE ? "CUDA_ERROR_INVALID_HANDLE" : "CUDA_ERROR_OTHER";
    return SUCCESS;
}
DRIVER cuGetErrorString(Result error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "out of memory"
          : error == ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : "an error of the stub";
    return SUCCESS;
}

// ---- streams and events: a clock ticks with every event; a held stream's events are not done

typedef struct { int device, priority, held; } Stream;
typedef struct { Stream *stream; double time; unsigned flags; int recorded; } Event;
static double clock_milliseconds;
static Stream *capturing;  // one stream at a time may capture; what must not happen meanwhile is an error
static long captures, memsets, synchronizations;
#define NOT_CAPTURING if (capturing) return CAPTURE_UNSUPPORTED

DRIVER cuStreamCreateWithPriority(Stream **stream, unsigned flags, int priority) {
    CHECKED;
    *stream = calloc(1, sizeof(Stream));
    (*stream)->device = device_of(current_context);
    (*stream)->priority = priority;
    return SUCCESS;
}
DRIVER cuStreamCreate(Stream **stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }
DRIVER cuStreamDestroy(Stream *stream) { return SUCCESS; }
DRIVER cuStreamGetFlags(Stream *stream, unsigned *flags) { *flags = 1; return SUCCESS; }
DRIVER cuStreamGetPriority(Stream *stream, int *priority) { *priority = stream->priority; return SUCCESS; }
DRIVER cuStreamGetDevice(Stream *stream, int *device) { *device = stream->device; return SUCCESS; }
DRIVER cuStreamGetCtx(Stream *stream, Handle *context, Handle *green) {
    *context = context_of(stream->device);
    if (green) *green = NULL;
    return SUCCESS;
}
DRIVER cuStreamIsCapturing(Stream *stream, int *status) { *status = stream == capturing; return SUCCESS; }
DRIVER cuStreamSynchronize(Stream *stream) { CHECKED; if (stream == capturing) return CAPTURE_UNSUPPORTED; synchronizations++; stream->held = 0; return SUCCESS; }
DRIVER cuStreamQuery(Stream *stream) { CHECKED; return stream->held ? NOT_READY : SUCCESS; }
DRIVER cuStreamWaitEvent(Stream *stream, Event *event, unsigned flags) { CHECKED; stream->held |= event->stream->held; return SUCCESS; }

DRIVER cuEventCreate(Event **event, unsigned flags) {
    CHECKED;
    *event = calloc(1, sizeof(Event));
    (*event)->flags = flags;
    return SUCCESS;
}
DRIVER cuEventDestroy(Event *event) { free(event); return SUCCESS; }
DRIVER cuEventRecord(Event *event, Stream *stream) {
    CHECKED;
    if (stream->device != device_of(current_context)) return INVALID_HANDLE;
    event->stream = stream;
    event->time = clock_milliseconds += 0.5;
    return SUCCESS;
}
DRIVER cuEventQuery(Event *event) { return sticky_error ? sticky_error : event->stream && event->stream->held ? NOT_READY : SUCCESS; }
DRIVER cuEventSynchronize(Event *event) { synchronizations++; if (event->stream) event->stream->held = 0; return sticky_error; }
DRIVER cuEventElapsedTime(float *milliseconds, Event *start, Event *end) {
    if ((start->flags | end->flags) & 2) return INVALID_HANDLE;
    *milliseconds = (float)(end->time - start->time);
    return SUCCESS;
}
STUB void stub_hold(Stream *stream, int held) { stream->held = held; }
STUB void stub_fail(int error) { sticky_error = error; }

// ---- memory: each piece has its size in front of it, and freed bytes are overwritten

typedef struct { size_t bytes, device, pad[62]; } Header;  // 512 bytes, the alignment of device memory
static size_t used[16];
static long allocations, frees, trims, host_allocations, copies, uploads, downloads;

static Result allocate(Pointer *pointer, size_t bytes, int device) {
    Header *header;
    if (used[device] + bytes > (size_t)setting("STUB_MEMORY", 64L << 20)) return OUT_OF_MEMORY;
    if (posix_memalign((void **)&header, 512, sizeof(Header) + bytes)) return OUT_OF_MEMORY;
    header->bytes = bytes;
    header->device = device;
    used[device] += bytes;
    allocations++;
    *pointer = (Pointer)(header + 1);
    memset(header + 1, 0xCB, bytes);
    return SUCCESS;
}
static Result release(Pointer pointer) {
    Header *header = (Header *)pointer - 1;
    memset(header + 1, 0xDD, header->bytes);
    used[header->device] -= header->bytes;
    frees++;
    free(header);
    return SUCCESS;
}
DRIVER cuMemGetInfo(size_t *available, size_t *total) {
    CHECKED;
    *total = (size_t)setting("STUB_MEMORY", 64L << 20);
    *available = *total - used[device_of(current_context)];
    return SUCCESS;
}
DRIVER cuDeviceGetMemPool(Handle *pool, int device) { *pool = (Handle)(uintptr_t)(0x3000 + device); return SUCCESS; }
DRIVER cuDeviceGetDefaultMemPool(Handle *pool, int device) { return cuDeviceGetMemPool(pool, device); }
DRIVER cuMemPoolTrimTo(Handle pool, size_t keep) { CHECKED; trims++; return SUCCESS; }
DRIVER cuMemPoolGetAttribute(Handle pool, int attribute, void *value) { *(uint64_t *)value = 0; return SUCCESS; }
DRIVER cuMemPoolSetAttribute(Handle pool, int attribute, void *value) { return SUCCESS; }
DRIVER cuMemAllocAsync(Pointer *pointer, size_t bytes, Stream *stream) {
    CHECKED;
    if (!bytes) return INVALID_VALUE;
    if (stream == capturing) return CAPTURE_UNSUPPORTED;  // would be a part of the graph
    return allocate(pointer, bytes, stream->device);
}
DRIVER cuMemFreeAsync(Pointer pointer, Stream *stream) { CHECKED; return release(pointer); }
DRIVER cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags) {
    CHECKED;
    host_allocations++;
    return posix_memalign(pointer, 4096, bytes) ? OUT_OF_MEMORY : SUCCESS;
}
DRIVER cuMemFreeHost(void *pointer) { CHECKED; host_allocations--; free(pointer); return SUCCESS; }

static Result copy(Pointer destination, Pointer source, size_t bytes, Stream *stream) {
    CHECKED;
    if (stream->device != device_of(current_context)) return INVALID_HANDLE;
    if (destination < source + bytes && source < destination + bytes) return INVALID_VALUE;  // undefined on a real GPU
    copies++;
    memcpy((void *)destination, (void *)source, bytes);
    return SUCCESS;
}
DRIVER cuMemcpyAsync(Pointer destination, Pointer source, size_t bytes, Stream *stream) { return copy(destination, source, bytes, stream); }
DRIVER cuMemcpyHtoDAsync(Pointer destination, const void *source, size_t bytes, Stream *stream) { uploads++; return copy(destination, (Pointer)source, bytes, stream); }
DRIVER cuMemcpyDtoHAsync(void *destination, Pointer source, size_t bytes, Stream *stream) { downloads++; return copy((Pointer)destination, source, bytes, stream); }
DRIVER cuMemcpyDtoDAsync(Pointer destination, Pointer source, size_t bytes, Stream *stream) { return copy(destination, source, bytes, stream); }
DRIVER cuMemsetD8Async(Pointer to, unsigned char value, size_t count, Stream *stream) { CHECKED; memsets++; memset((void *)to, value, count); return SUCCESS; }
DRIVER cuMemsetD16Async(Pointer to, unsigned short value, size_t count, Stream *stream) {
    CHECKED;
    for (size_t i = 0; i < count; i++) ((unsigned short *)to)[i] = value;
    return SUCCESS;
}
DRIVER cuMemsetD32Async(Pointer to, unsigned value, size_t count, Stream *stream) {
    CHECKED;
    for (size_t i = 0; i < count; i++) ((unsigned *)to)[i] = value;
    return SUCCESS;
}
DRIVER cuCtxSynchronize(void) { CHECKED; NOT_CAPTURING; synchronizations++; return SUCCESS; }

// ---- kernels: any cubin loads, a launch is written down

static struct { unsigned grid[3], block[3], shared; Handle stream; } last_launch;
static long launches, captured, graph_launches, cooperative_launches;

DRIVER cuLibraryLoadData(Handle *library, const void *code, ...) { *library = (Handle)0x5000; return SUCCESS; }
DRIVER cuLibraryUnload(Handle library) { return SUCCESS; }
DRIVER cuLibraryGetKernel(Handle *kernel, Handle library, const char *name) { *kernel = (Handle)0x6000; return SUCCESS; }
DRIVER cuLibraryGetModule(Handle *module, Handle library) { *module = (Handle)0x6100; return SUCCESS; }
DRIVER cuKernelGetLibrary(Handle *library, Handle kernel) { *library = (Handle)0x5000; return SUCCESS; }
DRIVER cuKernelGetFunction(Handle *function, Handle kernel) { *function = kernel; return SUCCESS; }
DRIVER cuKernelGetAttribute(int *value, int attribute, Handle kernel, int device) { *value = attribute == 0 ? 1024 : 0; return SUCCESS; }
DRIVER cuKernelSetAttribute(int attribute, int value, Handle kernel, int device) { return SUCCESS; }
DRIVER cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Handle function, int threads, size_t shared) { *blocks = 1; return SUCCESS; }
DRIVER cuFuncGetAttribute(int *value, int attribute, Handle function) { *value = attribute == 0 ? 1024 : 0; return SUCCESS; }

typedef struct { unsigned grid[3], block[3], shared; Handle stream; void *attributes; unsigned count; } LaunchConfig;
static Result launched(const unsigned *grid, const unsigned *block, unsigned shared, Stream *stream) {
    CHECKED;
    if (capturing && stream == capturing) return captured++, SUCCESS;
    launches++;
    memcpy(last_launch.grid, grid, sizeof last_launch.grid);
    memcpy(last_launch.block, block, sizeof last_launch.block);
    last_launch.shared = shared;
    last_launch.stream = stream;
    return SUCCESS;
}
typedef struct { int kind, pad; union { int number; char bytes[64]; } value; } LaunchAttribute;
DRIVER cuLaunchKernelEx(LaunchConfig *config, Handle function, void **parameters, void **extra) {
    const LaunchAttribute *attributes = config->attributes;
    for (unsigned i = 0; i < config->count; i++)
        cooperative_launches += attributes[i].kind == 2 && attributes[i].value.number;
    return launched(config->grid, config->block, config->shared, config->stream);
}
DRIVER cuLaunchKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, Handle stream, void **parameters, void **extra) {
    return launched((unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, shared, stream);
}

// ---- graphs: how many launches were captured, which a replay adds to the others

typedef struct { long launches; } Graph;
DRIVER cuStreamBeginCapture(Stream *stream, int mode) {
    CHECKED;
    NOT_CAPTURING;
    capturing = stream;
    captured = 0;
    captures++;
    return SUCCESS;
}
DRIVER cuStreamEndCapture(Stream *stream, Graph **graph) {
    CHECKED;
    if (stream != capturing) return CAPTURE_INVALIDATED;
    capturing = NULL;
    *graph = calloc(1, sizeof(Graph));
    (*graph)->launches = captured;
    return SUCCESS;
}
DRIVER cuGraphInstantiateWithFlags(Graph **executable, Graph *graph, unsigned long long flags) {
    CHECKED;
    *executable = calloc(1, sizeof(Graph));
    **executable = *graph;
    return SUCCESS;
}
DRIVER cuGraphLaunch(Graph *executable, Stream *stream) {
    CHECKED;
    launches += executable->launches;
    graph_launches++;
    return SUCCESS;
}
DRIVER cuGraphDestroy(Graph *graph) { free(graph); return SUCCESS; }
DRIVER cuGraphExecDestroy(Graph *executable) { free(executable); return SUCCESS; }

STUB long stub_counter(const char *name) {
    if (!strcmp(name, "allocations")) return allocations;
    if (!strcmp(name, "frees")) return frees;
    if (!strcmp(name, "trims")) return trims;
    if (!strcmp(name, "copies")) return copies;
    if (!strcmp(name, "uploads")) return uploads;
    if (!strcmp(name, "downloads")) return downloads;
    if (!strcmp(name, "synchronizations")) return synchronizations;
    if (!strcmp(name, "launches")) return launches;
    if (!strcmp(name, "graph_launches")) return graph_launches;
    if (!strcmp(name, "cooperative_launches")) return cooperative_launches;
    if (!strcmp(name, "captures")) return captures;
    if (!strcmp(name, "memsets")) return memsets;
    if (!strcmp(name, "host_allocations")) return host_allocations;
    if (!strcmp(name, "context")) return current_context != NULL;
    if (!strcmp(name, "grid")) return last_launch.grid[0];
    if (!strcmp(name, "shared")) return last_launch.shared;
    return -1;
}

// ---- how callers find all of this; what is not here is answered with "not found"

DRIVER cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status);
DRIVER cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}
DRIVER cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status) {
    static void *self;
    Dl_info information;
    if (!self && dladdr((void *)cuInit, &information)) self = dlopen(information.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    *function = !strcmp(symbol, "cuGetProcAddress") ? (void *)cuGetProcAddress_v2 : dlsym(self, symbol);
    if (!*function && getenv("STUB_TRACE")) fprintf(stderr, "stub driver has no %s\n", symbol);
    if (status) *status = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}
