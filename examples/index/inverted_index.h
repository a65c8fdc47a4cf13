// An inverted index in ordinary standard containers: for each word, the documents that it is in.
//
// Nothing here knows of Holdfast. Where the containers' memory comes from is decided by the
// memory_resource that the index is made with; that is the whole change to the program.
//
// As indexers do, it collects the postings of some hundred documents in ordinary memory, and
// appends them word by word: a list is touched once a batch, not once a document.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

struct Posting {
  std::uint32_t document;
  std::uint32_t count;  // how often the word is in it
  friend bool operator==(const Posting&, const Posting&) = default;
};

struct Hit {
  std::string name;
  double score;
};

class InvertedIndex {
 public:
  static constexpr std::size_t kBatch = 256 << 10;  // postings that are collected: about 8 MiB

  explicit InvertedIndex(std::pmr::memory_resource* memory) : names_(memory), terms_(memory) {}

  // Adds a document. text: lower case, in ordinary memory.
  void add(std::string_view name, std::string_view text);
  // Appends what was collected; before the index is asked or compared.
  void flush();

  // The documents that suit the words best by tf-idf, copies of one document counted once.
  [[nodiscard]] std::vector<Hit> search(std::string_view words, std::size_t limit) const;
  // Nothing if every name, term and posting is the same in both; else the first difference.
  [[nodiscard]] std::string difference(const InvertedIndex& other) const;

  [[nodiscard]] std::uint64_t documents() const { return names_.size(); }
  [[nodiscard]] std::uint64_t terms() const { return terms_.size(); }
  [[nodiscard]] std::uint64_t postings() const { return postings_; }

 private:
  // Finds by string_view. Not noexcept, so that the container keeps each word's hash beside it and
  // need not look at the words when it grows.
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view word) const {
      return std::hash<std::string_view>{}(word);
    }
  };
  using Terms =
      std::pmr::unordered_map<std::pmr::string, std::pmr::vector<Posting>, Hash, std::equal_to<>>;

  struct Collected {
    std::uint32_t word;  // its number in collected_words_
    Posting posting;
  };
  std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> collected_words_;
  std::vector<Collected> collected_;

  std::pmr::vector<std::pmr::string> names_;
  Terms terms_;
  std::uint64_t postings_ = 0;
};
