// SPDX-License-Identifier: Apache-2.0
// C++ with the runtime's threads: _beginthreadex, thread-local objects, exceptions in each thread, static guards.
#include <windows.h>
#include <process.h>
#include <cstdio>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace {
CRITICAL_SECTION lock;
std::vector<std::string> results;
thread_local int depth;

const std::string &shared_text() {
    static const std::string text = [] { Sleep(5); return std::string("made once"); }();
    return text;
}

unsigned __stdcall run(void *parameter) {
    const int number = static_cast<int>(reinterpret_cast<INT_PTR>(parameter));
    try {
        for (depth = 0; depth < 100; depth++)
            if (depth == 10 + number) throw std::runtime_error("thread " + std::to_string(number));
    } catch (const std::exception &error) {
        EnterCriticalSection(&lock);
        results.push_back(error.what() + std::string(" at ") + std::to_string(depth) + ", " + shared_text());
        LeaveCriticalSection(&lock);
    }
    return static_cast<unsigned>(number);
}
}  // namespace

int main() {
    InitializeCriticalSection(&lock);
    std::vector<HANDLE> threads;
    for (int i = 0; i < 8; i++)
        threads.push_back(reinterpret_cast<HANDLE>(_beginthreadex(nullptr, 0, run, reinterpret_cast<void *>(i), 0, nullptr)));
    const DWORD waited = WaitForMultipleObjects(static_cast<DWORD>(threads.size()), threads.data(), TRUE, INFINITE);
    DWORD sum = 0;
    for (HANDLE thread : threads) {
        DWORD code = 0;
        GetExitCodeThread(thread, &code);
        sum += code;
        CloseHandle(thread);
    }
    std::printf("waited %lu, sum %lu, results %zu, depth %d\n", waited, sum, results.size(), depth);
    size_t good = 0;
    for (const std::string &line : results) good += line.find("made once") != std::string::npos;
    std::printf("good %zu\n", good);
    return 0;
}
