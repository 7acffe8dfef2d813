// What stands for a cubin: a line that names the architecture, then the text of the program.
#pragma once

#include <cctype>
#include <cstdio>
#include <cstring>
#include <string>

namespace emulation {

constexpr const char *imageMark = "dmsae-emulated-cubin";

inline std::string makeImage(int architecture, const std::string &text) {
    // The length is in it, since a loader gets only an address.
    return std::string(imageMark) + " sm_" + std::to_string(architecture) + " " + std::to_string(text.size()) + "\n" + text;
}

/// False for what is no such image, a cut-off header included.
inline bool readImage(const char *image, int &architecture, std::string &text) {
    if (strncmp(image, imageMark, strlen(imageMark)) != 0) return false;
    size_t length = 0;
    int header = 0;
    if (sscanf(image + strlen(imageMark), " sm_%d %zu%n", &architecture, &length, &header) != 2) return false;
    const char *end = image + strlen(imageMark) + header;
    if (*end != '\n') return false;
    text.assign(end + 1, length);
    return true;
}

/// Whether a program may define a kernel: its name is a word before a parenthesis, what a macro is told, or begins with a word
/// that a macro appends to.
inline bool defines(const std::string &text, const std::string &name) {
    auto letter = [](char character) { return isalnum(static_cast<unsigned char>(character)) || character == '_'; };
    for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
        size_t end = at + name.size();
        bool begins = at == 0 || !letter(text[at - 1]);
        while (end < text.size() && isspace(static_cast<unsigned char>(text[end]))) ++end;
        if (begins && end < text.size() && (text[end] == '(' || text[end] == ',')) return true;
    }
    for (size_t at = text.find("##"); at != std::string::npos; at = text.find("##", at + 1)) {
        size_t start = at;
        while (start > 0 && letter(text[start - 1])) --start;
        if (start < at && name.compare(0, at - start, text, start, at - start) == 0) return true;
    }
    return false;
}

}  // namespace emulation
