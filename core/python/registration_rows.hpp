// Pairs of images and schedules as rows of Python, checked.
#pragma once

#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "python/arrays.hpp"
#include "registration/candidates.hpp"

namespace lightcrcf::python {

using HeldVolume = Held<const float, 3>;
using NoiseRow = std::tuple<double, double, double>;  // variance, size, unit

// Fixed and moving image, their masks, the noise of each, whether each was masked, and the share of the pair.
using PairRow = std::tuple<HeldVolume, HeldVolume, std::optional<HeldVolume>, std::optional<HeldVolume>,
                           std::optional<std::tuple<NoiseRow, NoiseRow>>, std::tuple<bool, bool>, double>;

using CandidateRow = std::tuple<bool, double, double>;                // backward, both Gaussians
using MeasureRow = std::tuple<std::string, int64_t, double, double>;  // metric, radius, contrast, its Gaussian

// Scale, that of the images, steps; step, momentum, force, volume, background, min_merge_ratio; candidates, and a measure for each pair.
using LevelRow = std::tuple<int64_t, int64_t, int64_t, double, double, double, double, double, double,
                            std::vector<CandidateRow>, std::vector<MeasureRow>>;

// Return the pairs; the rows keep their memory. Raise ValueError unless all are on one grid.
std::vector<Images> images_of(const std::vector<PairRow>& rows);

// Return a level. Raise ValueError for values that the core does not take.
Level level_of(const LevelRow& row, size_t pairs);

// Raise ValueError unless all factors are 1 or 2.
void require_pool(const Pool& pool);

// Raise ValueError unless an array is a displacement on a grid.
void require_displacement_on(const ConstField& field, const Shape& shape);

}  // namespace lightcrcf::python
