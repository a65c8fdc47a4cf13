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
    auto known = collected_words_.find(word);
    if (known == collected_words_.end()) {
      const auto number = static_cast<std::uint32_t>(collected_words_.size());
      known = collected_words_.try_emplace(std::string(word), number).first;
    }
    collected_.push_back({known->second, {document, count}});
  }
  postings_ += counts.size();
  if (collected_.size() >= kBatch) flush();
}

// In alphabetical order: words that were new in one batch lie in that order in memory, and so every
// later batch walks through them from one end to the other.
void InvertedIndex::flush() {
  std::vector<std::pair<std::string_view, std::uint32_t>> words(collected_words_.begin(),
                                                                collected_words_.end());
  std::sort(words.begin(), words.end());
  std::vector<std::uint32_t> rank(words.size());
  for (std::uint32_t i = 0; i < words.size(); ++i) rank[words[i].second] = i;
  std::sort(collected_.begin(), collected_.end(), [&](const Collected& a, const Collected& b) {
    return std::pair(rank[a.word], a.posting.document) <
           std::pair(rank[b.word], b.posting.document);
  });
  auto next = collected_.begin();
  for (const auto& [word, number] : words) {
    auto term = terms_.find(word);
    if (term == terms_.end()) term = terms_.try_emplace(std::pmr::string(word)).first;
    for (; next != collected_.end() && next->word == number; ++next) {
      term->second.push_back(next->posting);
    }
  }
  collected_words_.clear();
  collected_.clear();  // keeps its memory for the next batch
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
