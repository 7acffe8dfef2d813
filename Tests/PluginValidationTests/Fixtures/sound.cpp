// The scorer of Plugins/Template, with more of the standard library: templates whose copies are visible whatever the
// compiler is told, in files that are built as Plugins/README.md says.
#include "../../../Plugins/Template/guarded.cpp"

#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>

__attribute__((constructor)) static void load() {
    std::map<std::string, std::shared_ptr<double>> values;
    std::ostringstream text;
    const std::function<void(double)> add = [&](double value) {
        values[std::to_string(value)] = std::make_shared<double>(value);
        text << *values.at(std::to_string(value));
    };
    add(0.5);
    if (text.str() != "0.5") __builtin_trap();
}
