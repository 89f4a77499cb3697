// What follows a refinement while it runs.
#pragma once

#include <functional>

namespace lightcrcf {

// Called on the calling thread after each part of a step, with its name. It may throw, which ends the refinement.
class Watch {
 public:
  Watch() = default;
  explicit Watch(std::function<void(const char*)> after) : after_(std::move(after)) {}

  void after(const char* part) const {
    if (after_) after_(part);
  }

 private:
  std::function<void(const char*)> after_;
};

}  // namespace lightcrcf
