// SPDX-License-Identifier: Apache-2.0
// A C++ program to be packed: throws through frames with destructors, catches by base class, throws again.
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

class Trace {
public:
    explicit Trace(const char *name) : name_(name) { std::printf("enter %s\n", name_.c_str()); }
    ~Trace() { std::printf("leave %s\n", name_.c_str()); }

private:
    std::string name_;
};

class ParseError : public std::runtime_error {
public:
    ParseError(const std::string &text, std::size_t at) : std::runtime_error(text), at_(at) {}
    std::size_t at() const { return at_; }

private:
    std::size_t at_;
};

long number(const std::string &text, std::size_t &at)
{
    Trace trace("number");
    long value = 0;
    std::size_t start = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9')
        value = value * 10 + (text[at++] - '0');
    if (at == start)
        throw ParseError("digit expected", at);
    return value;
}

long sum(const std::string &text)
{
    Trace trace("sum");
    std::size_t at = 0;
    long total = number(text, at);
    while (at < text.size()) {
        if (text[at] != '+')
            throw ParseError("plus expected", at);
        at++;
        try {
            total += number(text, at);
        } catch (const ParseError &) {
            std::printf("again\n");
            throw;
        }
    }
    return total;
}

} // namespace

int main()
{
    std::map<std::string, long> results;
    std::vector<std::string> texts = {"1+2+39", "4+", "7*8", ""};
    for (const auto &text : texts) {
        try {
            results[text] = sum(text);
        } catch (const ParseError &error) {
            std::printf("%s at %u\n", error.what(), unsigned(error.at()));
        } catch (const std::exception &error) {
            std::printf("unexpected: %s\n", error.what());
        }
    }
    try {
        results.at("absent");
    } catch (const std::out_of_range &) {
        std::printf("out of range\n");
    }
    for (const auto &result : results)
        std::printf("%s = %ld\n", result.first.c_str(), result.second);
    return int(results.size());
}
