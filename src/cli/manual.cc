#include "cli/manual.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>

namespace holdfast::cli {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands(
      [](const CLI::App* one) { return !one->get_group().empty() && !one->get_name().empty(); });
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option* one) { return !one->get_group().empty(); });
}

// "holdfast image info", or with other words between.
std::string path_of(const CLI::App& app, const char* between) {
  const CLI::App* const parent = app.get_parent();
  return parent == nullptr ? app.get_name() : path_of(*parent, between) + between + app.get_name();
}

// In man(7) a hyphen that is typed is \-, and a line must not begin with a dot or quote.
std::string typeset(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '-') {
      safe += "\\-";
    } else if (c == '\\') {
      safe += "\\e";
    } else {
      safe += c;
    }
  }
  return safe.starts_with('.') || safe.starts_with('\'') ? "\\&" + safe : safe;
}

// "PID"; checks of the value follow its name, after a colon.
std::string value_name(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return option.get_type_size_max() == 0 ? "" : type.substr(0, type.find(':'));
}

bool takes_value(const CLI::Option& option) { return !value_name(option).empty(); }

// "\fB\-\-memory\fR \fISIZE\fR"
std::string option_head(const CLI::Option& option) {
  if (!option.nonpositional()) return "\\fI" + typeset(option.get_name(true)) + "\\fR";
  std::string head;
  for (const std::string& name : option.get_snames()) head += "\\fB\\-" + name + "\\fR, ";
  for (const std::string& name : option.get_lnames()) {
    head += "\\fB\\-\\-" + typeset(name) + "\\fR, ";
  }
  head.resize(head.size() - 2);
  if (takes_value(option)) head += " \\fI" + typeset(value_name(option)) + "\\fR";
  return head;
}

std::string sentence(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  if (!text.empty() && !text.ends_with('.')) text += '.';
  return text;
}

void add_options(std::string& page, const CLI::App& app) {
  for (const CLI::Option* const option : options_of(app)) {
    page +=
        ".TP\n" + option_head(*option) + "\n" + typeset(sentence(option->get_description())) + "\n";
    if (!option->get_default_str().empty()) {
      page += "Default: " + typeset(option->get_default_str()) + ".\n";
    }
  }
}

std::string synopsis(const CLI::App& app) {
  std::string text = ".B " + typeset(path_of(app, " ")) + "\n";
  if (!commands_of(app).empty()) return text + ".I COMMAND\n[\\fIOPTIONS\\fR]\n";
  text += "[\\fIOPTIONS\\fR]";
  for (const CLI::Option* const option : options_of(app)) {
    if (option->nonpositional()) continue;
    const bool several = option->get_items_expected_max() > 1;
    text += several ? " [\\-\\-] \\fI" : " \\fI";
    text += typeset(option->get_name(true)) + (several ? "\\fR ..." : "\\fR");
  }
  return text + "\n";
}

// "  term  text" or "  text"
void add_footer_line(std::string& page, const std::string& line) {
  const std::size_t start = line.find_first_not_of(' ');
  const std::size_t gap = line.find("  ", start);
  if (start == 2 && gap != std::string::npos) {
    page += ".TP\n\\fB" + typeset(line.substr(start, gap - start)) + "\\fR\n" +
            typeset(line.substr(line.find_first_not_of(' ', gap))) + "\n";
  } else {
    page += typeset(line.substr(start)) + "\n.br\n";
  }
}

// The description, or all but that: it stands before the options in a page, and the rest after
// them.
enum class Footer : std::uint8_t { description, rest };
void add_footer(std::string& page, const CLI::App& app, Footer part) {
  std::istringstream lines(app.get_footer());
  bool wanted = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    if (line.front() != ' ' && line.ends_with(':')) {
      line.pop_back();
      std::ranges::transform(line, line.begin(), [](unsigned char c) { return std::toupper(c); });
      wanted = (line == "DESCRIPTION") == (part == Footer::description);
      if (wanted) page += ".SH \"" + typeset(line) + "\"\n";
    } else if (wanted) {
      add_footer_line(page, line);
    }
  }
}

void add_commands(std::string& page, const CLI::App& app) {
  for (const CLI::App* const command : commands_of(app)) {
    const std::string name = path_of(*command, " ");
    page +=
        ".SS \"" + typeset(name) + "\"\n" + typeset(sentence(command->get_description())) + "\n";
    add_options(page, *command);
    add_commands(page, *command);
  }
}

// What may be written after an option: bash that fills COMPREPLY from $current.
std::string values_of(const CLI::Option& option) {
  const std::string type = value_name(option);
  if (type == "FILE" || type == "DIR") {
    return fmt::format("COMPREPLY=($(compgen -{} -- \"$current\"))", type == "FILE" ? 'f' : 'd');
  }
  if (type == "PID") {
    return "COMPREPLY=($(compgen -W \"$(ps -eo pid= 2>/dev/null)\" -- \"$current\"))";
  }
  // A colon breaks a word for bash, but not for us: only what follows the last one is to be added.
  if (type == "TIER") {
    return "COMPREPLY=($(compgen -W 'ram ram:zstd file:' -- \"$whole\"))\n"
           "          COMPREPLY=(\"${COMPREPLY[@]#\"${whole%\"$current\"}\"}\")";
  }
  return "COMPREPLY=()";
}

std::string words_of(const CLI::App& app) {
  std::string words;
  for (const CLI::App* const command : commands_of(app)) words += command->get_name() + " ";
  for (const CLI::Option* const option : options_of(app)) {
    for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
  }
  if (!words.empty()) words.pop_back();
  return words;
}

// One case for each command: what its options take, and what else may stand there.
void add_cases(std::string& script, const CLI::App& app) {
  script += fmt::format("    '{}')\n      case $previous in\n", path_of(app, " "));
  for (const CLI::Option* const option : options_of(app)) {
    if (!option->nonpositional() || !takes_value(*option)) continue;
    script += fmt::format("        --{})\n          {}\n          return ;;\n",
                          option->get_lnames().front(), values_of(*option));
  }
  script += fmt::format("      esac\n      words='{}' commands={} ;;\n", words_of(app),
                        commands_of(app).empty() ? "" : "y");
  for (const CLI::App* const command : commands_of(app)) add_cases(script, *command);
}

void add_command_names(std::string& names, const CLI::App& app) {
  for (const CLI::App* const command : commands_of(app)) {
    names += (names.empty() ? "'" : " | '") + path_of(*command, " ") + "'";
    add_command_names(names, *command);
  }
}

constexpr const char* kCompletionHead =
    R"(# bash completion for holdfast: generated from the command's own flags
_holdfast() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  local command=holdfast words= commands= whole=$current i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ ${{COMP_WORDS[i]}} == -- ]]; then  # a program and its arguments follow
      if declare -F _command_offset >/dev/null; then
        _command_offset $((i + 1))
      else
        COMPREPLY=($(compgen -c -- "$current"))
      fi
      return
    fi
    case "$command ${{COMP_WORDS[i]}}" in
      {}) command+=" ${{COMP_WORDS[i]}}" ;;
    esac
  done
  # What bash has cut at a colon is one word.
  for ((i = COMP_CWORD - 1; i > 1; i--)); do
    [[ ${{COMP_WORDS[i]}} == : || ${{COMP_WORDS[i + 1]}} == : ]] || break
    whole=${{COMP_WORDS[i]}}$whole
    previous=${{COMP_WORDS[i - 1]}}
  done
  [[ $current == : ]] && current=
  case $command in
)";

constexpr const char* kCompletionTail = R"(  esac
  if [[ $current == -* || -n $commands ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  elif [[ $command == 'holdfast run' ]]; then
    COMPREPLY=($(compgen -c -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}
complete -o default -F _holdfast holdfast
)";

}  // namespace

std::string man_page(const CLI::App& app, const std::string& version) {
  const bool is_root = app.get_parent() == nullptr;
  const std::string title = path_of(app, "-");
  std::string upper = title;
  std::ranges::transform(upper, upper.begin(), [](unsigned char c) { return std::toupper(c); });
  std::string page = fmt::format(".TH \"{}\" 1 \"\" \"Holdfast {}\" \"User Commands\"\n",
                                 typeset(upper), typeset(version));
  std::string what = app.get_description();
  if (is_root && what.starts_with("Holdfast: ")) what.erase(0, 10);
  if (what.ends_with('.')) what.pop_back();
  page += ".SH NAME\n" + typeset(title) + " \\- " + typeset(what) + "\n";
  page += ".SH SYNOPSIS\n" + synopsis(app);
  add_footer(page, app, Footer::description);
  page += ".SH OPTIONS\n";
  add_options(page, app);
  if (is_root) page += ".SH COMMANDS\n";
  add_commands(page, app);
  add_footer(page, app, Footer::rest);
  return page;
}

std::string bash_completion(const CLI::App& root) {
  std::string names;
  add_command_names(names, root);
  std::string script = fmt::format(fmt::runtime(kCompletionHead), names);
  add_cases(script, root);
  return script + kCompletionTail;
}

}  // namespace holdfast::cli
