// A libnccl.so.2 without a GPU: ranks are processes of this machine, and device memory is the stub driver's host memory.
//
// Every collective is made of messages, which go through one mailbox for each pair of ranks in a file that all map. A
// call is done when it returns, whatever stream it names. Reductions add in the order of the ranks, in double or 64 bit
// integers, and round once, so that all ranks get the same bits. What two ranks disagree about is an error; real NCCL
// hangs there. ncclCommAbort ends a call that waits in another thread.
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int Result;
#define NCCL __attribute__((visibility("default")))
enum { SUCCESS, CUDA_ERROR, SYSTEM_ERROR, INTERNAL_ERROR, INVALID_ARGUMENT, INVALID_USAGE, REMOTE_ERROR };
enum { INT8, UINT8, INT32, UINT32, INT64, UINT64, FLOAT16, FLOAT32, FLOAT64, BFLOAT16, E4M3, E5M2, DTYPES };
enum { SUM, PRODUCT, MAX, MIN, AVERAGE, OPERATIONS };
static const size_t SIZES[DTYPES] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};

#define SLOT 65536
typedef struct { _Atomic int full; size_t bytes, whole; char data[SLOT]; } Mailbox;
typedef struct { _Atomic int attached; char pad[60]; Mailbox boxes[]; } Shared;
typedef struct { int rank, size, device; _Atomic int aborted; Shared *shared; size_t mapped; } Comm;
typedef struct { char name[128]; } UniqueId;

static _Atomic int asynchronous_error;  // what ncclCommGetAsyncError answers after stub_nccl_fail
static _Atomic long calls;
NCCL void stub_nccl_fail(int error) { asynchronous_error = error; }
NCCL long stub_nccl_calls(void) { return calls; }

NCCL Result ncclGetVersion(int *version) { *version = 22907; return SUCCESS; }
NCCL const char *ncclGetErrorString(Result result) {
    static const char *const texts[] = {"no error", "unhandled cuda error", "unhandled system error", "internal error",
                                        "invalid argument", "invalid usage", "remote process exited or there was a network error"};
    return result >= 0 && result <= REMOTE_ERROR ? texts[result] : "unknown result code";
}
NCCL const char *ncclGetLastError(Comm *comm) { return "an error of the stub"; }

// ---- communicators: the file has the name that the unique id gives, and loses it when all have come

static void rest(int polls) { if (polls > 200) usleep(polls > 2000 ? 500 : 20); }

NCCL Result ncclGetUniqueId(UniqueId *id) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const char *folder = getenv("STUB_NCCL_FOLDER");
    memset(id, 0, sizeof *id);
    int written = snprintf(id->name, sizeof id->name, "%s/stub-nccl-%d-%lx%lx", folder ? folder : "/dev/shm", getpid(),
                           (long)now.tv_sec, now.tv_nsec);
    return written < (int)sizeof id->name ? SUCCESS : SYSTEM_ERROR;
}
NCCL Result ncclCommInitRank(Comm **comm, int size, UniqueId id, int rank) {
    if (rank < 0 || rank >= size || !id.name[0]) return INVALID_ARGUMENT;
    Comm *made = calloc(1, sizeof *made);
    made->rank = rank, made->size = size;
    made->mapped = sizeof(Shared) + sizeof(Mailbox) * size * size;
    int file = open(id.name, O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, made->mapped)) return SYSTEM_ERROR;
    made->shared = mmap(NULL, made->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (made->shared == MAP_FAILED) return SYSTEM_ERROR;
    if (atomic_fetch_add(&made->shared->attached, 1) + 1 == size) unlink(id.name);
    for (int polls = 0; made->shared->attached < size; polls++) rest(polls);
    *comm = made;
    return SUCCESS;
}
NCCL Result ncclCommInitRankConfig(Comm **comm, int size, UniqueId id, int rank, void *config) { return ncclCommInitRank(comm, size, id, rank); }
NCCL Result ncclCommFinalize(Comm *comm) { return SUCCESS; }
NCCL Result ncclCommDestroy(Comm *comm) { munmap(comm->shared, comm->mapped); free(comm); return SUCCESS; }
NCCL Result ncclCommAbort(Comm *comm) { comm->aborted = 1; return SUCCESS; }  // kept: another thread may be in a call
NCCL Result ncclCommGetAsyncError(Comm *comm, Result *error) { *error = asynchronous_error; return SUCCESS; }
NCCL Result ncclCommCount(Comm *comm, int *count) { *count = comm->size; return SUCCESS; }
NCCL Result ncclCommUserRank(Comm *comm, int *rank) { *rank = comm->rank; return SUCCESS; }

// ---- messages: a list of those that a call consists of, moved on in turn until all are through

typedef struct { Comm *comm; char *data; size_t whole, moved; int peer, receives, started; } Message;
static __thread Message *messages;
static __thread int count, room, depth;

static void add(Comm *comm, int receives, const void *data, size_t bytes, int peer) {
    if (count == room) messages = realloc(messages, sizeof(Message) * (room = 2 * room + 16));
    messages[count++] = (Message){comm, (char *)data, bytes, 0, peer, receives, 0};
}
static int is_first(int at) {  // of the messages of one direction with one peer only one may be under way
    for (int i = 0; i < at; i++) {
        const Message *one = &messages[i], *other = &messages[at];
        if (one->comm == other->comm && one->peer == other->peer && one->receives == other->receives &&
            !(one->started && one->moved == one->whole)) return 0;
    }
    return 1;
}
static Result move(Message *message) {  // at most one mailbox full
    Comm *comm = message->comm;
    int from = message->receives ? message->peer : comm->rank, to = message->receives ? comm->rank : message->peer;
    Mailbox *box = &comm->shared->boxes[from * comm->size + to];
    if (atomic_load(&box->full) != message->receives) return SUCCESS;
    if (!message->receives) {
        size_t left = message->whole - message->moved;
        box->bytes = left < SLOT ? left : SLOT;
        box->whole = message->whole;
        memcpy(box->data, message->data + message->moved, box->bytes);
    } else {
        if (box->whole != message->whole) return INVALID_USAGE;
        memcpy(message->data + message->moved, box->data, box->bytes);
    }
    message->moved += box->bytes;
    message->started = 1;
    atomic_store(&box->full, !message->receives);
    return SUCCESS;
}
static Result carry_out(void) {
    Result result = SUCCESS;
    for (int polls = 0, open = 1; open && !result; polls++) {
        open = 0;
        for (int i = 0; i < count && !result; i++) {
            Message *each = &messages[i];
            if (each->comm->aborted) result = REMOTE_ERROR;
            if (each->started && each->moved == each->whole) continue;
            open = 1;
            size_t before = each->moved;
            if (!result && is_first(i)) result = move(each);
            if (each->moved != before) polls = 0;
        }
        rest(polls);
    }
    count = 0;
    return result;
}
NCCL Result ncclGroupStart(void) { depth++; return SUCCESS; }
NCCL Result ncclGroupEnd(void) { return --depth ? SUCCESS : carry_out(); }
static Result one(Comm *comm, int receives, const void *data, size_t elements, int dtype, int peer) {
    calls++;
    if (dtype < 0 || dtype >= DTYPES || peer < 0 || peer >= comm->size || (elements && !data)) return INVALID_ARGUMENT;
    add(comm, receives, data, elements * SIZES[dtype], peer);
    return depth ? SUCCESS : carry_out();
}
NCCL Result ncclSend(const void *data, size_t elements, int dtype, int peer, Comm *comm, void *stream) { return one(comm, 0, data, elements, dtype, peer); }
NCCL Result ncclRecv(void *data, size_t elements, int dtype, int peer, Comm *comm, void *stream) { return one(comm, 1, data, elements, dtype, peer); }

// ---- numbers: integers as 64 bits, floats as double; the narrow ones are searched among all their values

static double small_float(unsigned code, int exponent, int mantissa, int bias) {
    double fraction = code & ((1 << mantissa) - 1), sign = code >> (exponent + mantissa) & 1 ? -1 : 1;
    int power = code >> mantissa & ((1 << exponent) - 1), top = (1 << exponent) - 1;
    if (exponent == 5 && power == top) return fraction ? NAN : sign * INFINITY;
    if (exponent == 4 && power == top && fraction == 7) return NAN;
    return sign * (power ? ldexp(1 + ldexp(fraction, -mantissa), power - bias) : ldexp(fraction, 1 - bias - mantissa));
}
static double float_at(const void *data, size_t i, int dtype) {
    union { uint32_t bits; float number; } wide;
    switch (dtype) {
    case FLOAT16: return (double)((const _Float16 *)data)[i];
    case FLOAT32: return ((const float *)data)[i];
    case BFLOAT16: wide.bits = (uint32_t)((const uint16_t *)data)[i] << 16; return wide.number;
    case E4M3: return small_float(((const uint8_t *)data)[i], 4, 3, 7);
    case E5M2: return small_float(((const uint8_t *)data)[i], 5, 2, 15);
    default: return ((const double *)data)[i];
    }
}
static void put_float(void *data, size_t i, int dtype, double value) {
    union { uint32_t bits; float number; } wide = {.number = (float)value};
    int best = 0;
    switch (dtype) {
    case FLOAT16: ((_Float16 *)data)[i] = (_Float16)value; break;
    case FLOAT32: ((float *)data)[i] = (float)value; break;
    case BFLOAT16: ((uint16_t *)data)[i] = (wide.bits + 0x7FFF + (wide.bits >> 16 & 1)) >> 16; break;
    case E4M3: case E5M2:
        for (unsigned code = 0; code < 256; code++) {
            double here = float_at(&(uint8_t){code}, 0, dtype), there = float_at(&(uint8_t){best}, 0, dtype);
            double near = fabs(here - value), far = fabs(there - value);
            if (near < far || (near == far && !(code & 1) && (best & 1))) best = code;
        }
        ((uint8_t *)data)[i] = best;
        break;
    default: ((double *)data)[i] = value;
    }
}
static int64_t integer_at(const void *data, size_t i, int dtype) {
    switch (dtype) {
    case INT8: return ((const int8_t *)data)[i];
    case UINT8: return ((const uint8_t *)data)[i];
    case INT32: return ((const int32_t *)data)[i];
    case UINT32: return ((const uint32_t *)data)[i];
    default: return ((const int64_t *)data)[i];
    }
}
#define REDUCED(a, b) (op == PRODUCT ? a * b : op == MAX ? (a > b ? a : b) : op == MIN ? (a < b ? a : b) : a + b)
static void reduce_parts(void *out, const char *parts, size_t elements, int size, int dtype, int op) {
    for (size_t i = 0; i < elements; i++) {
        if (dtype >= FLOAT16) {
            double found = float_at(parts, i, dtype);
            for (int r = 1; r < size; r++) {
                double next = float_at(parts, r * elements + i, dtype);
                found = REDUCED(found, next);
            }
            put_float(out, i, dtype, op == AVERAGE ? found / size : found);
        } else {
            int64_t found = integer_at(parts, i, dtype);
            for (int r = 1; r < size; r++) {
                int64_t next = integer_at(parts, r * elements + i, dtype);
                found = REDUCED(found, next);
            }
            if (op == AVERAGE) found /= size;
            memcpy((char *)out + i * SIZES[dtype], &found, SIZES[dtype]);  // little endian
        }
    }
}

// ---- collectives: to every rank in `to` goes its part of `source`, and what comes in is gathered or reduced

static Result exchange(Comm *comm, const char *source, size_t step, char *out, size_t bytes, int sends_to, int receives_from) {
    calls++;
    for (int r = 0; r < comm->size; r++) {  // -1 for all ranks
        if ((sends_to < 0 || sends_to == r)) add(comm, 0, source + r * step, bytes, r);
        if ((receives_from < 0 || receives_from == r) && out) add(comm, 1, out + (receives_from < 0 ? r * bytes : 0), bytes, r);
    }
    return carry_out();
}
static Result reduction(Comm *comm, const void *source, size_t step, void *out, size_t elements, int dtype, int op, int root) {
    if (depth || dtype < 0 || dtype >= DTYPES || op < 0 || op >= OPERATIONS) return INVALID_ARGUMENT;
    size_t bytes = elements * SIZES[dtype];
    char *parts = root < 0 || root == comm->rank ? malloc(bytes * comm->size + 1) : NULL;
    Result result = exchange(comm, source, step, parts, bytes, root, -1);
    if (!result && parts) reduce_parts(out, parts, elements, comm->size, dtype, op);
    free(parts);
    return result;
}
NCCL Result ncclAllReduce(const void *source, void *out, size_t elements, int dtype, int op, Comm *comm, void *stream) { return reduction(comm, source, 0, out, elements, dtype, op, -1); }
NCCL Result ncclReduce(const void *source, void *out, size_t elements, int dtype, int op, int root, Comm *comm, void *stream) { return reduction(comm, source, 0, out, elements, dtype, op, root); }
NCCL Result ncclReduceScatter(const void *source, void *out, size_t elements, int dtype, int op, Comm *comm, void *stream) {
    if (dtype < 0 || dtype >= DTYPES) return INVALID_ARGUMENT;
    return reduction(comm, source, elements * SIZES[dtype], out, elements, dtype, op, -1);
}
NCCL Result ncclAllGather(const void *source, void *out, size_t elements, int dtype, Comm *comm, void *stream) {
    if (depth || dtype < 0 || dtype >= DTYPES) return INVALID_ARGUMENT;
    return exchange(comm, source, 0, out, elements * SIZES[dtype], -1, -1);
}
NCCL Result ncclBroadcast(const void *source, void *out, size_t elements, int dtype, int root, Comm *comm, void *stream) {
    if (depth || dtype < 0 || dtype >= DTYPES || root < 0 || root >= comm->size) return INVALID_ARGUMENT;
    return exchange(comm, source, 0, out, elements * SIZES[dtype], comm->rank == root ? -1 : comm->size, root);
}
