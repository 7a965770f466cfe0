/* SPDX-License-Identifier: Apache-2.0 */
/* Threads and what they wait for: events, mutexes, semaphores, timers, APCs, ports, pool, fibers, names. */
#define _WIN32_WINNT 0x0601
#include "check.h"
#include <string.h>
#include <tlhelp32.h>

static volatile LONG counter, order;
static HANDLE gate, done, shared;

static DWORD WINAPI count_up(void *times) {
    for (int i = 0; i < (int)(INT_PTR)times; i++) InterlockedIncrement(&counter);
    return 7;
}
static DWORD WINAPI take_and_die(void *mutex) {
    return WaitForSingleObject(mutex, INFINITE);
}
static DWORD WINAPI wait_for_gate(void *unused) {
    WaitForSingleObject(gate, INFINITE);
    InterlockedIncrement(&counter);
    return 0;
}
static void CALLBACK apc(ULONG_PTR value) { counter += value; }
static void CALLBACK timer_apc(void *value, DWORD low, DWORD high) { counter += (int)(INT_PTR)value; CHECK(high > 0x1cb0000); }
static DWORD WINAPI alertable(void *unused) {
    DWORD first = SleepEx(INFINITE, TRUE);
    return first == WAIT_IO_COMPLETION ? 11 : 12;
}
static DWORD WINAPI run_first(void *unused) { return order = counter; }

static void threads(void) {
    DWORD id = 0, code = 0;
    HANDLE thread = CreateThread(NULL, 0, count_up, (void *)1000, CREATE_SUSPENDED, &id);
    CHECK(thread && id && GetThreadId(thread) == id && GetProcessIdOfThread(thread) == GetCurrentProcessId());
    CHECK(WaitForSingleObject(thread, 50) == WAIT_TIMEOUT && counter == 0 && GetExitCodeThread(thread, &code) && code == STILL_ACTIVE);
    CHECK(SuspendThread(thread) == 1 && ResumeThread(thread) == 2 && counter == 0 && ResumeThread(thread) == 1);
    CHECK(WaitForSingleObject(thread, INFINITE) == WAIT_OBJECT_0 && counter == 1000 && GetExitCodeThread(thread, &code) && code == 7);
    CHECK(CloseHandle(thread) && !CloseHandle(thread) && GetLastError() == ERROR_INVALID_HANDLE);
    CHECK(!GetExitCodeThread(thread, &code) && GetLastError() == ERROR_INVALID_HANDLE && OpenThread(THREAD_ALL_ACCESS, FALSE, id) == NULL);

    /* Registers of a thread that has not begun: EAX is where it will. */
    CONTEXT context = { CONTEXT_FULL };
    counter = 0;
    thread = CreateThread(NULL, 0, alertable, NULL, CREATE_SUSPENDED, &id);
    HANDLE other = OpenThread(THREAD_ALL_ACCESS, FALSE, id);
    CHECK(other && GetThreadContext(other, &context) && context.Eax == (DWORD)alertable && context.Ebx == 0 && context.SegCs == 0x1b);
    context.Eax = (DWORD)count_up;
    context.Ebx = 5;
    CHECK(SetThreadContext(other, &context) && ResumeThread(other) == 1 && WaitForSingleObject(thread, INFINITE) == 0 && counter == 5);
    CloseHandle(other);
    CloseHandle(thread);

    /* APCs: at once in a new thread, before its function; else when it waits for them. */
    counter = 0;
    thread = CreateThread(NULL, 0, run_first, NULL, CREATE_SUSPENDED, NULL);
    CHECK(QueueUserAPC(apc, thread, 3) && QueueUserAPC(apc, thread, 4) && ResumeThread(thread) == 1);
    CHECK(WaitForSingleObject(thread, INFINITE) == 0 && order == 7 && GetExitCodeThread(thread, &code) && code == 7);
    CHECK(!QueueUserAPC(apc, thread, 1));
    CloseHandle(thread);
    counter = 0;
    CHECK(QueueUserAPC(apc, GetCurrentThread(), 2) && SleepEx(0, FALSE) == 0 && counter == 0);
    CHECK(SleepEx(1000, TRUE) == WAIT_IO_COMPLETION && counter == 2 && SleepEx(10, TRUE) == 0);
    thread = CreateThread(NULL, 0, alertable, NULL, 0, NULL);
    Sleep(20);
    CHECK(QueueUserAPC(apc, thread, 1) && WaitForSingleObject(thread, 1000) == 0 && GetExitCodeThread(thread, &code) && code == 11 && counter == 3);
    CloseHandle(thread);
    LONG (WINAPI *NtTestAlert)(void) = (void *)GetProcAddress(GetModuleHandleA("ntdll"), "NtTestAlert");
    CHECK(QueueUserAPC(apc, GetCurrentThread(), 10) && NtTestAlert() == 0 && counter == 13);
    thread = CreateThread(NULL, 0, alertable, NULL, 0, NULL);
    CHECK(TerminateThread(thread, 99) && WaitForSingleObject(thread, 0) == 0 && GetExitCodeThread(thread, &code) && code == 99);
    CloseHandle(thread);
}

static void objects(void) {
    HANDLE handles[4], twin;
    DWORD code = 0;
    LONG before = 0;
    handles[0] = CreateEventA(NULL, FALSE, FALSE, NULL);
    handles[1] = CreateEventA(NULL, TRUE, TRUE, NULL);
    CHECK(WaitForMultipleObjects(2, handles, FALSE, 100) == WAIT_OBJECT_0 + 1 && WaitForMultipleObjects(2, handles, TRUE, 100) == WAIT_TIMEOUT);
    CHECK(SetEvent(handles[0]) && WaitForMultipleObjects(2, handles, TRUE, 100) == WAIT_OBJECT_0 && WaitForSingleObject(handles[0], 0) == WAIT_TIMEOUT);
    CHECK(WaitForSingleObject((HANDLE)0x5554, 0) == WAIT_FAILED && GetLastError() == ERROR_INVALID_HANDLE && !SetEvent((HANDLE)0x5554));

    /* Pulse: who waits now goes on, who comes later does not. */
    gate = CreateEventA(NULL, TRUE, FALSE, NULL);
    counter = 0;
    HANDLE waiters[2] = { CreateThread(NULL, 0, wait_for_gate, NULL, 0, NULL), CreateThread(NULL, 0, wait_for_gate, NULL, 0, NULL) };
    Sleep(20);
    CHECK(PulseEvent(gate) && WaitForMultipleObjects(2, waiters, TRUE, 1000) == 0 && counter == 2 && WaitForSingleObject(gate, 0) == WAIT_TIMEOUT);

    /* Mutexes: owned, recursive, abandoned. */
    HANDLE mutex = CreateMutexA(NULL, TRUE, NULL);
    CHECK(WaitForSingleObject(mutex, 0) == 0 && ReleaseMutex(mutex) && ReleaseMutex(mutex) && !ReleaseMutex(mutex) && GetLastError() == ERROR_NOT_OWNER);
    HANDLE thread = CreateThread(NULL, 0, take_and_die, mutex, 0, NULL);
    CHECK(WaitForSingleObject(thread, 1000) == 0 && WaitForSingleObject(mutex, 1000) == WAIT_ABANDONED && ReleaseMutex(mutex) && WaitForSingleObject(mutex, 0) == WAIT_OBJECT_0);
    CloseHandle(mutex);

    HANDLE semaphore = CreateSemaphoreA(NULL, 1, 2, NULL);
    CHECK(!CreateSemaphoreA(NULL, 3, 2, NULL) && GetLastError() == ERROR_INVALID_PARAMETER);
    CHECK(ReleaseSemaphore(semaphore, 1, &before) && before == 1 && !ReleaseSemaphore(semaphore, 1, NULL) && GetLastError() == ERROR_TOO_MANY_POSTS);
    CHECK(WaitForSingleObject(semaphore, 0) == 0 && WaitForSingleObject(semaphore, 0) == 0 && WaitForSingleObject(semaphore, 0) == WAIT_TIMEOUT);

    /* Names live as long as their last handle. */
    SetLastError(5);
    HANDLE named = CreateMutexA(NULL, FALSE, "umbra-once");
    CHECK(named && GetLastError() == 0 && (twin = CreateMutexA(NULL, FALSE, "Local\\umbra-once")) && GetLastError() == ERROR_ALREADY_EXISTS);
    CHECK(OpenMutexA(SYNCHRONIZE, FALSE, "Global\\umbra-once") == NULL && GetLastError() == ERROR_FILE_NOT_FOUND);
    CHECK(CreateEventA(NULL, FALSE, FALSE, "umbra-once") == NULL && GetLastError() == ERROR_INVALID_HANDLE);
    CloseHandle(named);
    CHECK((named = OpenMutexA(SYNCHRONIZE, FALSE, "umbra-once")) != NULL);
    CloseHandle(named);
    CloseHandle(twin);
    CHECK(OpenMutexA(SYNCHRONIZE, FALSE, "umbra-once") == NULL && GetLastError() == ERROR_FILE_NOT_FOUND);
    shared = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 0x2000, "umbra-memory");
    char *view = MapViewOfFile(shared, FILE_MAP_ALL_ACCESS, 0, 0, 0);
    strcpy(view, "shared");
    twin = OpenFileMappingA(FILE_MAP_READ, FALSE, "umbra-memory");
    char *again = MapViewOfFile(twin, FILE_MAP_READ, 0, 0, 0);
    CHECK(twin && again && again != view && strcmp(again, "shared") == 0);

    /* Timers: once, again and again, with an APC. */
    LARGE_INTEGER due = { .QuadPart = -500000 };
    HANDLE timer = CreateWaitableTimerA(NULL, FALSE, NULL);
    DWORD start = GetTickCount();
    CHECK(WaitForSingleObject(timer, 20) == WAIT_TIMEOUT && SetWaitableTimer(timer, &due, 30, NULL, NULL, FALSE));
    CHECK(WaitForSingleObject(timer, 1000) == 0 && GetTickCount() - start >= 69 && WaitForSingleObject(timer, 10) == WAIT_TIMEOUT && WaitForSingleObject(timer, 40) == 0);
    CHECK(CancelWaitableTimer(timer) && WaitForSingleObject(timer, 100) == WAIT_TIMEOUT);
    counter = 0;
    CHECK(SetWaitableTimer(timer, &due, 0, timer_apc, (void *)9, FALSE) && SleepEx(INFINITE, TRUE) == WAIT_IO_COMPLETION && counter == 9);
    handles[2] = timer;
    CHECK(SetWaitableTimer(timer, &due, 0, NULL, NULL, FALSE) && ResetEvent(handles[1]) && WaitForMultipleObjects(3, handles, FALSE, 1000) == WAIT_OBJECT_0 + 2);

    HANDLE copy = NULL;
    CHECK(DuplicateHandle(GetCurrentProcess(), handles[0], GetCurrentProcess(), &copy, 0, FALSE, DUPLICATE_SAME_ACCESS) && copy != handles[0]);
    CHECK(SetEvent(copy) && WaitForSingleObject(handles[0], 0) == 0 && CloseHandle(handles[0]) && SetEvent(copy) && WaitForSingleObject(copy, 0) == 0);
    CHECK(SignalObjectAndWait(copy, copy, 100, FALSE) == 0);

    HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    OVERLAPPED *overlapped = NULL;
    CHECK(!GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, 20) && GetLastError() == WAIT_TIMEOUT && overlapped == NULL);
    CHECK(PostQueuedCompletionStatus(port, 3, 4, (OVERLAPPED *)5) && PostQueuedCompletionStatus(port, 6, 7, NULL));
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, 0) && bytes == 3 && key == 4 && overlapped == (void *)5);
    CHECK(GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, 0) && bytes == 6 && key == 7);
}

static CRITICAL_SECTION section;
static SRWLOCK lock = SRWLOCK_INIT;
static CONDITION_VARIABLE condition = CONDITION_VARIABLE_INIT;
static int produced, consumed;
static DWORD WINAPI contend(void *unused) {
    for (int i = 0; i < 200; i++) {
        EnterCriticalSection(&section);
        LONG before = counter;
        if (i % 50 == 0) Sleep(1);
        counter = before + 1;
        LeaveCriticalSection(&section);
    }
    return 0;
}
static DWORD WINAPI consume(void *unused) {
    AcquireSRWLockExclusive(&lock);
    while (produced == 0) SleepConditionVariableSRW(&condition, &lock, INFINITE, 0);
    consumed = produced;
    ReleaseSRWLockExclusive(&lock);
    return 0;
}

static void locks(void) {
    HANDLE pair[3];
    InitializeCriticalSection(&section);
    counter = 0;
    for (int i = 0; i < 3; i++) pair[i] = CreateThread(NULL, 0, contend, NULL, 0, NULL);
    CHECK(WaitForMultipleObjects(3, pair, TRUE, INFINITE) == 0 && counter == 600 && TryEnterCriticalSection(&section));
    LeaveCriticalSection(&section);
    DeleteCriticalSection(&section);
    HANDLE thread = CreateThread(NULL, 0, consume, NULL, 0, NULL);
    Sleep(10);
    AcquireSRWLockExclusive(&lock);
    CHECK(!TryAcquireSRWLockShared(&lock));
    produced = 42;
    ReleaseSRWLockExclusive(&lock);
    WakeConditionVariable(&condition);
    CHECK(WaitForSingleObject(thread, 5000) == 0 && consumed == 42 && TryAcquireSRWLockShared(&lock));
    ReleaseSRWLockShared(&lock);
}

static DWORD WINAPI item(void *event) { InterlockedIncrement(&counter); SetEvent(event); return 0; }
static void CALLBACK ticked(void *event, BOOLEAN timed) { if (timed && InterlockedIncrement(&counter) == 3) SetEvent(event); }
static void CALLBACK signalled(void *event, BOOLEAN timed) { counter = timed ? 100 : 50; SetEvent(event); }
static void CALLBACK worked(TP_CALLBACK_INSTANCE *instance, void *context, TP_WORK *work) { InterlockedExchangeAdd(&counter, (LONG)(INT_PTR)context); }
static void CALLBACK rang(TP_CALLBACK_INSTANCE *instance, void *context, TP_TIMER *timer) { SetEvent(context); }
static void CALLBACK simple(TP_CALLBACK_INSTANCE *instance, void *context) { SetEvent(context); }
static void CALLBACK awaited(TP_CALLBACK_INSTANCE *instance, void *context, TP_WAIT *wait, DWORD result) { counter = result; SetEvent(context); }

static void pool(void) {
    HANDLE timer = NULL, wait = NULL, event = CreateEventA(NULL, FALSE, FALSE, NULL);
    done = CreateEventA(NULL, FALSE, FALSE, NULL);
    counter = 0;
    CHECK(QueueUserWorkItem(item, done, WT_EXECUTEDEFAULT) && WaitForSingleObject(done, 5000) == 0 && counter == 1);
    counter = 0;
    CHECK(CreateTimerQueueTimer(&timer, NULL, ticked, done, 10, 10, 0) && WaitForSingleObject(done, 5000) == 0 && counter >= 3);
    CHECK(DeleteTimerQueueTimer(NULL, timer, INVALID_HANDLE_VALUE));
    counter = 0;
    CHECK(RegisterWaitForSingleObject(&wait, event, signalled, done, INFINITE, WT_EXECUTEONLYONCE) && counter == 0);
    CHECK(SetEvent(event) && WaitForSingleObject(done, 5000) == 0 && counter == 50 && UnregisterWaitEx(wait, INVALID_HANDLE_VALUE));
    CHECK(RegisterWaitForSingleObject(&wait, event, signalled, done, 30, WT_EXECUTEONLYONCE) && WaitForSingleObject(done, 5000) == 0 && counter == 100 && UnregisterWait(wait));
    counter = 0;
    TP_WORK *work = CreateThreadpoolWork(worked, (void *)5, NULL);
    for (int i = 0; i < 4; i++) SubmitThreadpoolWork(work);
    WaitForThreadpoolWorkCallbacks(work, FALSE);
    CHECK(counter == 20);
    CloseThreadpoolWork(work);
    FILETIME due = { -100000, -1 };
    TP_TIMER *ring = CreateThreadpoolTimer(rang, done, NULL);
    SetThreadpoolTimer(ring, &due, 0, 0);
    CHECK(WaitForSingleObject(done, 5000) == 0);
    CloseThreadpoolTimer(ring);
    CHECK(TrySubmitThreadpoolCallback(simple, done, NULL) && WaitForSingleObject(done, 5000) == 0);
    TP_WAIT *pending = CreateThreadpoolWait(awaited, done, NULL);
    counter = 77;
    SetThreadpoolWait(pending, event, NULL);
    CHECK(SetEvent(event) && WaitForSingleObject(done, 5000) == 0 && counter == WAIT_OBJECT_0);
    CloseThreadpoolWait(pending);
}

static void *main_fiber, *second_fiber;
static void WINAPI fiber(void *parameter) {
    for (int i = 1;; i++) {
        counter = i * (int)(INT_PTR)parameter + (GetFiberData() == parameter && GetCurrentFiber() == second_fiber);
        SwitchToFiber(main_fiber);
    }
}

static void fibers(void) {
    CHECK(!IsThreadAFiber() && (main_fiber = ConvertThreadToFiber((void *)1)) != NULL && IsThreadAFiber() && GetFiberData() == (void *)1);
    CHECK((second_fiber = CreateFiber(0, fiber, (void *)10)) != NULL);
    SwitchToFiber(second_fiber);
    CHECK(counter == 11 && GetFiberData() == (void *)1);
    SwitchToFiber(second_fiber);
    CHECK(counter == 21);
    DeleteFiber(second_fiber);
    CHECK(ConvertFiberToThread() && !IsThreadAFiber());
}

static void snapshots(void) {
    THREADENTRY32 thread = { sizeof thread };
    HANDLE sleeper = CreateThread(NULL, 0, alertable, NULL, 0, NULL);
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    int own = 0, others = 0;
    CHECK(Thread32First(snapshot, &thread));
    do {
        if (thread.th32OwnerProcessID == GetCurrentProcessId()) own++;
        else others++;
    } while (Thread32Next(snapshot, &thread));
    CHECK(own >= 2 && others >= 1 && GetLastError() == ERROR_NO_MORE_FILES);
    TerminateThread(sleeper, 0);
}

int main(void) {
    threads();
    objects();
    locks();
    pool();
    fibers();
    snapshots();
    FINISH();
    return failures;
}
