/* SPDX-License-Identifier: Apache-2.0 */
/* C++ exceptions as GCC makes them: tables, two phases, no use of Windows' own. */
#include "check.h"
#include <stdexcept>
#include <string>
#include <vector>
#include <typeinfo>

static std::string trace;

struct Marked {
    char name;
    explicit Marked(char name) : name(name) { trace += name; }
    ~Marked() { trace += (char)(name - 'a' + 'A'); }
};

static void __attribute__((noinline)) thrower(int what) {
    Marked c('c');
    if (what == 0) throw 42;
    if (what == 1) throw std::runtime_error("ran");
    if (what == 2) throw std::string("text");
    std::vector<int>().at(what);
}

static void __attribute__((noinline)) middle(int what) {
    Marked b('b');
    try {
        thrower(what);
    } catch (const std::string &text) {
        trace += text;
        throw;
    }
}

static std::string run(int what) {
    trace.clear();
    try {
        Marked a('a');
        middle(what);
    } catch (int value) {
        trace += value == 42 ? "int" : "wrong";
    } catch (const std::logic_error &error) {
        trace += "logic";
    } catch (const std::exception &error) {
        trace += error.what();
    } catch (...) {
        trace += "any";
    }
    return trace;
}

struct Base { virtual ~Base() {} };
struct Derived : Base {};

static DWORD WINAPI onThread(void *result) {
    *(std::string *)result = run(1);
    return 0;
}

int main() {
    CHECK(run(0) == "abcCBAint");
    CHECK(run(1) == "abcCBAran");
    CHECK(run(2) == "abcCtextBAany");
    CHECK(run(3) == "abcCBAlogic");
    Base base;
    bool refused = false;
    try {
        (void)dynamic_cast<Derived &>(base);
    } catch (const std::bad_cast &) {
        refused = true;
    }
    CHECK(refused);
    bool full = false;
    try {
        std::vector<char> large;
        large.reserve(0x7fffff00);
    } catch (const std::bad_alloc &) {
        full = true;
    }
    CHECK(full);
    std::string other;
    HANDLE thread = CreateThread(NULL, 0, onThread, &other, 0, NULL);
    WaitForSingleObject(thread, INFINITE);
    CHECK(other == "abcCBAran");
    for (int i = 0; i < 100; i++) CHECK(run(i & 1) == (i & 1 ? "abcCBAran" : "abcCBAint"));
    FINISH();
    return failures != 0;
}
