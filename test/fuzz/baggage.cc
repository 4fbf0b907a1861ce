// SPDX-License-Identifier: Apache-2.0
// What we tell peers of a workload, whatever names the tables give it, is one field that HTTP can
// carry and W3C Baggage reads back to the same facts. The reader takes any bytes.
#include "http/baggage.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "proxy/connect_request.h"

namespace {

using weft::http::Baggage;

constexpr size_t kMemberBytesMax = 8192;
// The keys and separators of all members.
constexpr size_t kKeyBytesMax = 160;
constexpr std::array<const char*, 4> kTypes = {"deployment", "cronjob", "pod", "job"};

void need(bool condition) {
  if (!condition) {
    std::abort();
  }
}

bool isPrintable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

size_t bytesOf(const Baggage& baggage) {
  return baggage.cluster.size() + baggage.namespaceName.size() + baggage.workloadName.size() +
         baggage.serviceName.size() + baggage.serviceVersion.size() + baggage.region.size() +
         baggage.zone.size();
}

// What comes out of `text` is printable, and no more than went in.
Baggage parse(std::string_view text) {
  const Baggage baggage = weft::http::parseBaggage(text);
  for (const std::string* field :
       {&baggage.cluster, &baggage.namespaceName, &baggage.workloadName, &baggage.serviceName,
        &baggage.serviceVersion, &baggage.region, &baggage.zone}) {
    need(isPrintable(*field) && field->size() <= kMemberBytesMax);
  }
  need(bytesOf(baggage) <= text.size());
  need(baggage.workloadName.empty() == baggage.workloadType.empty());
  need(baggage.workloadType.empty() ||
       std::find(kTypes.begin(), kTypes.end(), baggage.workloadType) != kTypes.end());
  return baggage;
}

// The reader keeps no value that is not printable.
const std::string& kept(const std::string& value) {
  static const std::string nothing;
  return isPrintable(value) ? value : nothing;
}

std::string nextLine(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  std::string line(text.substr(0, end));
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

void thereAndBack(const Baggage& facts) {
  const std::string text = weft::http::encodeBaggage(facts);
  need(isPrintable(text) && text.find(' ') == std::string::npos);
  need(text.size() <= 3 * bytesOf(facts) + kKeyBytesMax);
  const Baggage again = parse(text);
  if (text.size() > kMemberBytesMax) {
    return;  // a member may be longer than the reader takes
  }
  need(again.cluster == kept(facts.cluster));
  need(again.namespaceName == kept(facts.namespaceName));
  need(again.workloadName == kept(facts.workloadName));
  need(again.serviceName == kept(facts.serviceName));
  need(again.serviceVersion == kept(facts.serviceVersion));
  need(again.region == kept(facts.region));
  need(again.zone == kept(facts.zone));
  const bool known = std::find(kTypes.begin(), kTypes.end(), facts.workloadType) != kTypes.end();
  need(again.workloadName.empty() || again.workloadType == (known ? facts.workloadType : "pod"));
}

// The field of a request is that text, or none.
void asField(const Baggage& facts) {
  const auto workload = std::make_shared<weft::proxy::Workload>();
  workload->cluster = facts.cluster;
  workload->namespaceName = facts.namespaceName;
  workload->workloadName = facts.workloadName;
  workload->workloadType = facts.workloadType;
  workload->canonicalName = facts.serviceName;
  workload->canonicalRevision = facts.serviceVersion;
  workload->locality = {facts.region, facts.zone, ""};
  weft::proxy::BaggageFields fields;
  const auto& made = fields.of(workload);
  const std::string text = weft::http::encodeBaggage(facts);
  const bool told = !text.empty() && text.size() <= weft::proxy::kBaggageBytesMax;
  need(made.size() == (told ? 1 : 0));
  need(!told || (made[0].name == "baggage" && made[0].value == text));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  parse(text);
  Baggage facts;
  for (std::string* field :
       {&facts.cluster, &facts.namespaceName, &facts.workloadName, &facts.workloadType,
        &facts.serviceName, &facts.serviceVersion, &facts.region, &facts.zone}) {
    *field = nextLine(text);
  }
  thereAndBack(facts);
  asField(facts);
  return 0;
}
