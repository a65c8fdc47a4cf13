#include "inverted_index.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace {

bool is_word_character(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// Calls f with each word of 2 to 32 letters and digits.
template <class F>
void for_each_word(std::string_view text, F f) {
  const char* const end = text.data() + text.size();
  for (const char* begin = text.data(); begin != end;) {
    begin = std::find_if(begin, end, is_word_character);
    const char* const stop = std::find_if_not(begin, end, is_word_character);
    const auto length = static_cast<std::size_t>(stop - begin);
    if (length >= 2 && length <= 32) f(std::string_view(begin, length));
    begin = stop;
  }
}

}  // namespace

void InvertedIndex::add(std::string_view name, std::string_view text) {
  std::pmr::monotonic_buffer_resource scratch;  // ordinary memory, for this document alone
  std::pmr::unordered_map<std::string_view, std::uint32_t> counts(&scratch);
  counts.reserve(text.size() / 16);
  for_each_word(text, [&](std::string_view word) { ++counts[word]; });

  const auto document = static_cast<std::uint32_t>(names_.size());
  names_.emplace_back(name);
  for (const auto& [word, count] : counts) {
    auto term = collected_.find(word);
    if (term == collected_.end()) term = collected_.try_emplace(std::string(word)).first;
    term->second.push_back({document, count});
  }
  postings_ += counts.size();
  collected_postings_ += counts.size();
  if (collected_postings_ >= kBatch) flush();
}

// In alphabetical order: words that were new in one batch lie in that order in memory, and so every
// later batch walks through them from one end to the other.
void InvertedIndex::flush() {
  std::vector<std::string_view> words;
  words.reserve(collected_.size());
  for (const auto& [word, postings] : collected_) words.push_back(word);
  std::sort(words.begin(), words.end());
  for (const std::string_view word : words) {
    auto term = terms_.find(word);
    if (term == terms_.end()) term = terms_.try_emplace(std::pmr::string(word)).first;
    const std::vector<Posting>& postings = collected_.find(word)->second;
    term->second.insert(term->second.end(), postings.begin(), postings.end());
  }
  collected_.clear();
  collected_postings_ = 0;
}

std::vector<Hit> InvertedIndex::search(std::string_view words, std::size_t limit) const {
  std::unordered_map<std::uint32_t, double> scores;
  const auto total = static_cast<double>(documents());
  for_each_word(words, [&](std::string_view word) {
    const auto term = terms_.find(word);
    if (term == terms_.end()) return;
    const double idf = std::log(total / static_cast<double>(term->second.size())) + 1e-9;
    for (const Posting& posting : term->second) {
      scores[posting.document] += (1 + std::log(posting.count)) * idf;
    }
  });
  std::vector<std::pair<double, std::uint32_t>> ranked;
  ranked.reserve(scores.size());
  for (const auto& [document, score] : scores) ranked.emplace_back(-score, document);
  std::sort(ranked.begin(), ranked.end());

  std::vector<Hit> hits;
  std::set<std::string> seen;
  for (const auto& [score, document] : ranked) {
    if (hits.size() == limit) break;
    const std::string name(names_[document]);  // a copy in ordinary memory, fit for any system call
    const std::string original = name.substr(0, name.find('#'));
    if (seen.insert(original).second) hits.push_back({original, -score});
  }
  return hits;
}

std::string InvertedIndex::difference(const InvertedIndex& other) const {
  const auto differs = [](const std::string& what, std::uint64_t a, std::uint64_t b) {
    return what + " " + std::to_string(a) + " against " + std::to_string(b);
  };
  if (documents() != other.documents()) {
    return differs("documents:", documents(), other.documents());
  }
  if (terms() != other.terms()) return differs("terms:", terms(), other.terms());
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (names_[i] != other.names_[i]) return differs("names of document", i, i);
  }
  for (const auto& [word, postings] : terms_) {
    const auto same = other.terms_.find(std::string_view(word));
    const std::string name(word);
    if (same == other.terms_.end()) return "the term '" + name + "' is in one only";
    if (postings.size() != same->second.size()) {
      return differs("postings of '" + name + "':", postings.size(), same->second.size());
    }
    for (std::size_t i = 0; i < postings.size(); ++i) {
      if (postings[i] != same->second[i]) {
        return differs("posting " + std::to_string(i) + " of '" + name + "': document",
                       postings[i].document, same->second[i].document);
      }
    }
  }
  return {};
}
