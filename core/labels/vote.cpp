#include "base/parallel.hpp"
#include "base/scratch.hpp"
#include "labels/fusion.hpp"

namespace lightcrcf::LIGHTCRCF_ISA {
namespace {

struct Step {
  int64_t z, y, x;
  float weight;
};

// The voxel and its neighbours with weight; the voxel itself comes first, so that ties go to its labels.
struct Neighbourhood {
  explicit Neighbourhood(const float* weights) {
    for (int n = -1; n < 27; ++n) {
      const int at = n < 0 ? 13 : n;
      if (n == 13) continue;
      const int z = at / 9 - 1, y = at / 3 % 3 - 1, x = at % 3 - 1;
      const float weight = (z != 0 ? weights[0] : 1.0f) * (y != 0 ? weights[1] : 1.0f) * (x != 0 ? weights[2] : 1.0f);
      if (weight > 0.0f) steps[count++] = {z, y, x, weight};
    }
  }

  Step steps[27];
  int count = 0;
};

// The labels that met at a voxel, and their scores.
class Ballot {
 public:
  explicit Ballot(int64_t labels) : scores_(labels), met_(labels) {
    std::memset(scores_.get(), 0, labels * sizeof(float));
  }

  void add(int64_t label, float weight) {
    float& score = scores_[label];
    if (score == 0.0f) met_[several_++] = label;
    score += weight;
    total_ += weight;
  }

  // Write the winner and its share, and start again.
  void count(int16_t* found, float* share) {
    int64_t best = met_[0];
    for (int64_t n = 1; n < several_; ++n) best = scores_[met_[n]] > scores_[best] ? met_[n] : best;
    const float part = scores_[best] / total_;
    *found = static_cast<int16_t>(best);
    *share = part < 1.0f ? part : 1.0f;
    for (int64_t n = 0; n < several_; ++n) scores_[met_[n]] = 0.0f;
    several_ = 0;
    total_ = 0.0f;
  }

  bool is_empty() const { return several_ == 0; }

 private:
  Scratch<float> scores_;
  Scratch<int64_t> met_;
  int64_t several_ = 0;
  float total_ = 0.0f;
};

// Add the votes of all atlases at a voxel. Return whether all are in range.
bool add_votes(const Votes& votes, int64_t voxel, float weight, Ballot& ballot) {
  const int64_t atlases = votes.labels.shape[0], rows = votes.weights.shape[0], voxels = votes.places.size();
  const int64_t place = votes.places.data[voxel];
  if (place >= rows) return false;
  const float* weights = place >= 0 ? votes.weights.at(place) : nullptr;
  const float even = 1.0f / static_cast<float>(atlases);
  bool valid = true;
  for (int64_t a = 0; a < atlases; ++a) {
    const int64_t label = votes.labels.data[a * voxels + voxel];
    const float own = weight * (weights != nullptr ? weights[a] : even);
    if (label < 0 || label >= votes.labels_end) {
      valid = false;
    } else if (own > 0.0f) {
      ballot.add(label, own);
    }
  }
  return valid;
}

// Let the neighbourhood of voxel (i, j, k) vote. Return whether all votes are in range.
bool vote_at(const Votes& votes, const Neighbourhood& around, const int64_t (&at)[3], Ballot& ballot) {
  const int64_t depth = votes.places.shape[0], height = votes.places.shape[1], width = votes.places.shape[2];
  bool valid = true;
  for (int n = 0; n < around.count; ++n) {
    const Step& step = around.steps[n];
    const int64_t i = at[0] + step.z, j = at[1] + step.y, k = at[2] + step.x;
    if (i < 0 || i >= depth || j < 0 || j >= height || k < 0 || k >= width) continue;
    valid &= add_votes(votes, (i * height + j) * width + k, step.weight, ballot);
  }
  return valid;
}

}  // namespace

bool vote(const Votes& votes, View<int16_t, 3> found, Volume share) {
  const Neighbourhood around(votes.neighbour_weights.data);
  bool all_valid = true;
  parallel_for(found.shape[0], [&](int64_t i) {
    Ballot ballot(votes.labels_end);
    bool valid = true;
    for (int64_t j = 0; j < found.shape[1]; ++j) {
      const int32_t* places = votes.places.at(i, j);
      const int16_t* first = votes.labels.at(0, i, j);
      int16_t* labels = found.at(i, j);
      float* shares = share.at(i, j);
      for (int64_t k = 0; k < found.shape[2]; ++k) {
        labels[k] = first[k];
        shares[k] = 1.0f;
        if (places[k] < 0) continue;
        valid &= vote_at(votes, around, {i, j, k}, ballot);
        if (!ballot.is_empty()) ballot.count(&labels[k], &shares[k]);
      }
    }
    if (!valid) __atomic_store_n(&all_valid, false, __ATOMIC_RELAXED);
  });
  return all_valid;
}

}  // namespace lightcrcf::LIGHTCRCF_ISA
