// SPDX-License-Identifier: Apache-2.0
// A C++ console program: streams, containers, exceptions through frames with destructors, threads' storage, RTTI.
#include <algorithm>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <vector>

namespace {
int alive;
struct Guard {
    Guard() { alive++; }
    ~Guard() { alive--; }
};
struct Shape {
    virtual ~Shape() = default;
    virtual double area() const = 0;
};
struct Square : Shape {
    double side;
    explicit Square(double given) : side(given) {}
    double area() const override { return side * side; }
};
struct Circle : Shape {
    double area() const override { return 3.25; }
};
struct Static {
    std::string text = "made before main";
} before;
thread_local int slot = 5;

int deep(int level) {
    Guard guard;
    if (level == 0) throw std::out_of_range("bottom");
    return deep(level - 1) + 1;
}
}  // namespace

int main() {
    std::cout << before.text << ' ' << slot << std::endl;
    try {
        deep(10);
    } catch (const std::exception &error) {
        std::cout << error.what() << ' ' << alive << std::endl;
    }
    try {
        try {
            throw 7;
        } catch (int number) {
            std::cout << "rethrown " << number << std::endl;
            throw;
        }
    } catch (...) {
        std::cout << "caught" << std::endl;
    }
    std::unique_ptr<Shape> shape = std::make_unique<Square>(1.5);
    try {
        (void)dynamic_cast<Circle &>(*shape);
    } catch (const std::bad_cast &) {
        std::cout << "no circle " << shape->area() << std::endl;
    }
    std::vector<int> numbers{5, 3, 9, 1};
    std::sort(numbers.begin(), numbers.end());
    std::map<std::string, int> counts;
    std::istringstream words("a b a c a");
    for (std::string word; words >> word;) counts[word]++;
    std::ostringstream line;
    for (int number : numbers) line << std::setw(3) << number;
    for (const auto &pair : counts) line << ' ' << pair.first << '=' << pair.second;
    std::cout << line.str() << ' ' << std::hex << 255 << ' ' << std::fixed << std::setprecision(2) << 2.345 << std::endl;
    std::ofstream("file.txt") << "one\ntwo\n";
    std::ifstream file("file.txt");
    std::string first, second;
    std::getline(file, first);
    std::getline(file, second);
    std::cout << first << '+' << second << std::endl;
    try {
        std::string().at(3);
    } catch (const std::out_of_range &) {
        std::cout << "range" << std::endl;
    }
    return 0;
}
