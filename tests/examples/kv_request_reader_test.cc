#include "examples/kv/request_reader.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "examples/kv/bounds.h"
#include "examples/kv/inline_words.h"
#include "support/seed.h"

namespace kv {
namespace {

using Outcome = RequestReader::Outcome;
using Words = std::vector<std::string>;

std::string multibulk(const Words& words) {
  std::string text = "*" + std::to_string(words.size()) + "\r\n";
  for (const auto& word : words) {
    text += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  return text;
}

// Every request of the stream, which comes in the given pieces; "error: ..." for what ends it.
std::vector<Words> read_pieces(const std::vector<std::string>& pieces) {
  RequestReader reader;
  std::vector<Words> requests;
  for (const auto& piece : pieces) {
    reader.append(piece);
    Outcome outcome = Outcome::incomplete;
    while ((outcome = reader.next()) == Outcome::request) {
      requests.emplace_back(reader.arguments().begin(), reader.arguments().end());
    }
    if (outcome == Outcome::error) {
      requests.push_back({"error: " + reader.error()});
      break;
    }
  }
  return requests;
}

std::string error_of(const std::string& stream) {
  const auto requests = read_pieces({stream});
  return requests.empty() ? "" : requests.back().front();
}

const std::string kStream = multibulk({"SET", "key", std::string("a\r\n\0b", 5)}) + "PING\r\n" +
                            multibulk({"GET", ""}) + "\r\n*0\r\nSET 'a b' \"c\\n\"\n" +
                            multibulk({"DEL", "a", "b", "c"});
const std::vector<Words> kRequests = {{"SET", "key", std::string("a\r\n\0b", 5)},
                                      {"PING"},
                                      {"GET", ""},
                                      {"SET", "a b", "c\n"},
                                      {"DEL", "a", "b", "c"}};

TEST(KvRequestReader, requests_that_come_together_are_told_apart) {
  EXPECT_EQ(read_pieces({kStream}), kRequests);
}

TEST(KvRequestReader, a_stream_cut_at_any_byte_is_the_same_stream) {
  for (std::size_t cut = 0; cut <= kStream.size(); ++cut) {
    EXPECT_EQ(read_pieces({kStream.substr(0, cut), kStream.substr(cut)}), kRequests) << cut;
  }
}

TEST(KvRequestReader, a_stream_that_comes_byte_by_byte_is_the_same_stream) {
  std::vector<std::string> bytes;
  for (const char c : kStream) bytes.emplace_back(1, c);
  EXPECT_EQ(read_pieces(bytes), kRequests);
}

TEST(KvRequestReader, a_cut_makes_no_difference_to_an_error) {
  for (const std::string bad :
       {"*1\r\n!3\r\nabc\r\n", "*x\r\n", "*1\r\n$99999999999\r\n", "*1\r\n$-1\r\n",
        "*1\r\n$3\r\nabcd\r\n", "GET 'a\r\n", "*99999999\r\n", "*1\r\n$3x\r\n", "*1\r\n$3\n"}) {
    const std::string stream = "PING\r\n" + bad;
    const auto whole = read_pieces({stream});
    ASSERT_EQ(whole.size(), 2u) << bad;
    EXPECT_TRUE(whole[1][0].starts_with("error: Protocol error: ")) << whole[1][0];
    for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
      EXPECT_EQ(read_pieces({stream.substr(0, cut), stream.substr(cut)}), whole) << bad << cut;
    }
  }
}

TEST(KvRequestReader, a_limit_that_is_broken_is_named) {
  const auto named = [](const std::string& stream, std::size_t limit) {
    const std::string error = error_of(stream);
    return error.find(std::to_string(limit)) != std::string::npos ? "" : "no limit in: " + error;
  };
  EXPECT_EQ(named("*1\r\n$" + std::to_string(kBulkMost + 1) + "\r\n", kBulkMost), "");
  EXPECT_EQ(named("*" + std::to_string(kArgumentsMost + 1) + "\r\n", kArgumentsMost), "");
  EXPECT_EQ(named(std::string(kInlineMost + 1, 'x'), kInlineMost), "");
  EXPECT_EQ(named(std::string(kInlineMost + 1, 'x') + "\r\n", kInlineMost), "");
  const std::string largest =
      "$" + std::to_string(kBulkMost) + "\r\n" + std::string(kBulkMost, 'x') + "\r\n";
  EXPECT_EQ(named("*5\r\n" + largest + largest + largest + largest, kRequestMost), "");
}

TEST(KvRequestReader, the_largest_values_are_not_too_large) {
  const auto requests = read_pieces({multibulk({"SET", "a", std::string(kBulkMost, 'x')}),
                                     "ECHO " + std::string(kInlineMost - 5, 'y') + "\n"});
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0][2].size(), kBulkMost);
  EXPECT_EQ(requests[1][1].size(), kInlineMost - 5);
}

TEST(KvRequestReader, garbage_is_requests_or_an_error_and_never_more_than_a_request_is_kept) {
  const std::uint64_t seed = holdfast::tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  const std::string alphabet = "*$0123456789-\r\n\"'\\x ab\xff";
  for (int round = 0; round < 2000; ++round) {
    RequestReader reader;
    std::string stream = round % 2 == 0 ? kStream : "";
    for (int i = 0; i < 60; ++i) {
      stream.insert(random() % (stream.size() + 1), 1, alphabet[random() % alphabet.size()]);
    }
    for (std::size_t at = 0; at < stream.size();) {
      const std::size_t piece = 1 + random() % 20;
      reader.append(std::string_view(stream).substr(at, piece));
      at += piece;
      Outcome outcome = Outcome::incomplete;
      while ((outcome = reader.next()) == Outcome::request) {
        ASSERT_FALSE(reader.arguments().empty());
        for (const auto word : reader.arguments()) ASSERT_LE(word.size(), stream.size());
      }
      ASSERT_LE(reader.buffered(), stream.size());
      if (outcome == Outcome::error) {
        ASSERT_EQ(reader.next(), Outcome::error) << "what follows an error is not understood";
        break;
      }
    }
  }
}

TEST(KvInlineWords, quotes_hold_blanks_and_escapes) {
  Words words;
  EXPECT_TRUE(split_words("  a \"b c\" 'd \\' e' \"\\x41\\n\\\"\" f\"g\" \r", words));
  EXPECT_EQ(words, Words({"a", "b c", "d ' e", "A\n\"", "fg"}));
  EXPECT_TRUE(split_words("\"\" ''", words));
  EXPECT_EQ(words, Words({"", ""}));
  EXPECT_FALSE(split_words("\"a", words));
  EXPECT_FALSE(split_words("'a\\", words));
  EXPECT_FALSE(split_words("\"a\"b", words));
}

}  // namespace
}  // namespace kv
