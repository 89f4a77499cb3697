#include <chrono>

#include "python/bindings.hpp"
#include "python/registration_rows.hpp"
#include "registration/folds.hpp"
#include "registration/gaussian.hpp"
#include "registration/local_similarity.hpp"
#include "registration/refine.hpp"

namespace lightcrcf::python {
namespace {

using OptionalField = std::optional<ConstField>;
using VolumeResult = nb::ndarray<nb::numpy, float, nb::ndim<3>>;
using FieldResult = nb::ndarray<nb::numpy, float, nb::ndim<4>>;
using VolumeView = nb::ndarray<nb::numpy, const float, nb::ndim<3>>;

constexpr double kSecondsBetweenSignals = 0.1;

// Return an array of Python that owns the memory.
template <typename Result, int Rank>
Result handed_over(Array<float, Rank> array) {
  size_t shape[Rank];
  for (int axis = 0; axis < Rank; ++axis) shape[axis] = static_cast<size_t>(array.view().shape[axis]);
  float* memory = array.detach();
  nb::capsule owner(memory, [](void* data) noexcept { release(data); });
  return Result(memory, Rank, shape, owner);
}

ConstField field_or_none(const OptionalField& field) { return field.value_or(ConstField{nullptr, {}}); }

// Calls a function of Python after each part of a step, or looks now and then whether a signal, as of Ctrl-C, came.
class Follower {
 public:
  explicit Follower(nb::object after) : after_(std::move(after)) {}

  Watch watch() {
    return Watch([this](const char* part) { follow(part); });
  }

 private:
  using Clock = std::chrono::steady_clock;

  void follow(const char* part) {
    if (!after_.is_none()) {
      nb::gil_scoped_acquire locked;
      after_(part);
      return;
    }
    const auto now = Clock::now();
    if (std::chrono::duration<double>(now - last_).count() < kSecondsBetweenSignals) return;
    last_ = now;
    nb::gil_scoped_acquire locked;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }

  nb::object after_;
  Clock::time_point last_ = Clock::now();
};

// Displacement; objectives before and after; steps and seconds of each level; folded voxels; whether a merged field, and
// the template's field in it, were accepted.
using RefineResult = std::tuple<FieldResult, double, double, std::vector<int64_t>, std::vector<double>, int64_t,
                                std::optional<bool>, std::optional<bool>>;

std::vector<Level> schedule_of(const std::vector<LevelRow>& rows, size_t pairs, bool from_half) {
  require(!rows.empty(), "a schedule needs a level");
  std::vector<Level> schedule;
  for (const LevelRow& row : rows) {
    schedule.push_back(level_of(row, pairs));
    require(schedule.size() < 2 || schedule.back().scale <= schedule[schedule.size() - 2].scale,
            "a schedule goes from coarse to fine");
  }
  require(!from_half || schedule.back().scale <= 2, "a schedule ends coarser than its start");
  return schedule;
}

RefineResult refine(const std::vector<PairRow>& pairs, const std::vector<LevelRow>& schedule, const Pool& pool,
                    const OptionalField& displacement, const OptionalField& template_field, nb::object after) {
  const std::vector<Images> images = images_of(pairs);
  require_pool(pool);
  const std::vector<Level> levels = schedule_of(schedule, images.size(), displacement.has_value());
  const Shape half = coarse_shape(shape_of(images[0].fixed), 2, pool);
  for (const OptionalField& field : {displacement, template_field}) {
    if (field) require_displacement_on(*field, half);
  }
  require(after.is_none() || nb::isinstance<nb::callable>(after), "after must be a function, or None");
  Follower follower(std::move(after));
  Refinement found;
  {
    nb::gil_scoped_release unlocked;
    found = lightcrcf::refine(images, levels, pool, {field_or_none(displacement), field_or_none(template_field)},
                              follower.watch());
  }
  return {handed_over<FieldResult>(std::move(found.displacement)), found.objective_before, found.objective_after,
          found.steps, found.seconds, found.folded, found.merge_accepted, found.template_accepted};
}

// The objective at one level, with the arrays that it compares.
class LevelObjective {
 public:
  LevelObjective(std::vector<PairRow> rows, const LevelRow& level, const Pool& pool)
      : rows_(std::move(rows)), objective_(make(rows_, level, pool, watch_)) {}
  LevelObjective(const LevelObjective&) = delete;
  LevelObjective& operator=(const LevelObjective&) = delete;

  double evaluate(const OptionalField& field) {
    if (field) require_displacement_on(*field, objective_.field_shape());
    nb::gil_scoped_release unlocked;
    return objective_.evaluate(field_or_none(field));
  }

  void force(const Field& out) {
    require_displacement_on(out, objective_.field_shape());
    nb::gil_scoped_release unlocked;
    objective_.force(out);
  }

  void local_similarity(const ConstVolume& moved, const Volume& out) const {
    require(shape_of(moved) == shape() && shape_of(out) == shape(), "arrays differ in shape");
    require_apart(out, moved);
    nb::gil_scoped_release unlocked;
    first().local_similarity(moved, out);
  }

  void multiply_moving(const ConstVolume& factors) {
    require(shape_of(factors) == shape(), "arrays differ in shape");
    nb::gil_scoped_release unlocked;
    first().images().multiply_moving(factors);
  }

  std::tuple<FieldResult, std::optional<bool>> merge(const std::vector<Held<const float, 4>>& fields,
                                                     const OptionalField& template_field) {
    require(!fields.empty() && static_cast<int64_t>(fields.size()) <= kMostCandidates, "1 to 8 fields are merged");
    std::vector<ConstField> views;
    for (const auto& field : fields) views.push_back(field.view);
    for (const ConstField& view : views) require_displacement_on(view, shape());
    if (template_field) require_displacement_on(*template_field, shape());
    Merged merged;
    {
      nb::gil_scoped_release unlocked;
      merged = add_template(objective_, views, field_or_none(template_field));
    }
    return {handed_over<FieldResult>(std::move(merged.field)), merged.template_accepted};
  }

  PairObjective& first() const { return *objective_.pairs()[0]; }
  Shape shape() const { return shape_of(first().images().fixed()); }

 private:
  static Objective make(const std::vector<PairRow>& rows, const LevelRow& row, const Pool& pool, const Watch& watch) {
    const std::vector<Images> images = images_of(rows);
    require_pool(pool);
    const Level level = level_of(row, images.size());
    nb::gil_scoped_release unlocked;
    return Objective(images, level, pool, watch);
  }

  std::vector<PairRow> rows_;
  Watch watch_;
  Objective objective_;
};

// Return a read-only view of memory of an object.
VolumeView view_within(const ConstVolume& volume, nb::handle owner) {
  const size_t shape[] = {static_cast<size_t>(volume.shape[0]), static_cast<size_t>(volume.shape[1]),
                          static_cast<size_t>(volume.shape[2])};
  return VolumeView(volume.data, 3, shape, owner);
}

// Define a property with an image of the first pair.
template <typename Get>
void define_image(nb::class_<LevelObjective>& type, const char* name, Get get) {
  type.def_prop_ro(name, [get](nb::handle_t<LevelObjective> self) {
    return view_within(get(nb::inst_ptr<LevelObjective>(self)->first()), self);
  });
}

// The same with weights of its voxels; None if all count.
template <typename Get>
void define_weight(nb::class_<LevelObjective>& type, const char* name, Get get) {
  type.def_prop_ro(name, [get](nb::handle_t<LevelObjective> self) -> std::optional<VolumeView> {
    const ConstVolume volume = get(nb::inst_ptr<LevelObjective>(self)->first());
    if (volume.data == nullptr) return std::nullopt;
    return view_within(volume, self);
  });
}

std::tuple<VolumeResult, std::optional<VolumeResult>> scale_image(const ConstVolume& image,
                                                                  const std::optional<ConstVolume>& mask,
                                                                  const Pool& blocks) {
  require_indexable(image);
  if (mask) require_same_grid(image, *mask);
  for (int64_t edge : blocks) require(edge >= 1 && edge <= kMostVoxels, "factors must be at least 1");
  ScaledImage scaled;
  {
    nb::gil_scoped_release unlocked;
    scaled = lightcrcf::scale_image(image, mask.value_or(ConstVolume{nullptr, {}}), blocks);
    scaled.image.own();  // of blocks of one voxel they are borrowed
    if (scaled.weight) scaled.weight.own();
  }
  std::optional<VolumeResult> weight;
  if (scaled.weight) weight = handed_over<VolumeResult>(scaled.weight.take());
  return {handed_over<VolumeResult>(scaled.image.take()), std::move(weight)};
}

std::tuple<VolumeResult, VolumeResult> local_deviations(const std::array<ConstVolume, 2>& images,
                                                        const std::array<std::optional<ConstVolume>, 2>& masks,
                                                        double sigma) {
  require(sigma >= 0 && sigma <= 1000, "a Gaussian is negative or too wide");
  std::array<ConstVolume, 2> weights;
  for (int n = 0; n < 2; ++n) {
    require_indexable(images[n]);
    if (masks[n]) require_same_grid(images[n], *masks[n]);
    weights[n] = masks[n].value_or(ConstVolume{nullptr, {}});
  }
  auto found = lightcrcf::local_deviations(images, weights, sigma);
  return {handed_over<VolumeResult>(std::move(found[0])), handed_over<VolumeResult>(std::move(found[1]))};
}

void require_pair(const ConstVolume& fixed, const ConstVolume& moved, int64_t radius, const Volume& out) {
  require_indexable(fixed);
  require_same_grid(fixed, moved);
  require_same_grid(fixed, ConstVolume(out));
  require_apart(out, fixed);
  require_apart(out, moved);
  require(radius >= 0 && radius <= 1 << 16, "a radius is negative or too large");
}

void squared_local_correlation(ConstVolume fixed, ConstVolume moved, int64_t radius, float floor, Volume out) {
  require_pair(fixed, moved, radius, out);
  lightcrcf::squared_local_correlation(fixed, moved, radius, floor, out);
}

void locally_explained(ConstVolume fixed, ConstVolume moved, int64_t radius, Volume out) {
  require_pair(fixed, moved, radius, out);
  lightcrcf::locally_explained(fixed, moved, radius, out);
}

void require_displacement(const ConstField& u) {
  require(u.shape[0] == 3, "a displacement needs three channels");
  require_indexable(u);
}

int64_t count_folds(ConstField field) {
  require_displacement(field);
  return lightcrcf::count_folds(field);
}

int64_t smooth_folds(Field field, int64_t allowed) {
  require_displacement(field);
  return lightcrcf::smooth_folds(field, allowed).folded;
}

bool repair_folds(Field candidate, ConstField field, Volume determinants) {
  require_displacement(field);
  require_same_grid(field, ConstField(candidate));
  require_same_grid(field[0], ConstVolume(determinants));
  require_apart(candidate, field);
  require_apart(candidate, determinants);
  require_apart(determinants, field);
  return lightcrcf::repair_folds(candidate, field, determinants);
}

void bind_objective(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<LevelObjective> type(module, "LevelObjective", "Objective of a refinement at one level.");
  type.def(nb::init<std::vector<PairRow>, const LevelRow&, const Pool&>(), "pairs"_a, "level"_a, "pool"_a)
      .def("evaluate", &LevelObjective::evaluate, "field"_a.none())
      .def("force", &LevelObjective::force, "out"_a)
      .def("local_similarity", &LevelObjective::local_similarity, "moved"_a, "out"_a)
      .def("multiply_moving", &LevelObjective::multiply_moving, "factors"_a)
      .def("merge", &LevelObjective::merge, "fields"_a, "template_field"_a.none())
      .def_prop_ro("noise", [](const LevelObjective& self) { return self.first().noise(); })
      .def_prop_ro("attained", [](const LevelObjective& self) { return self.first().attained(); });
  define_image(type, "fixed", [](PairObjective& pair) { return pair.images().fixed(); });
  define_image(type, "moving", [](PairObjective& pair) { return pair.images().moving(); });
  define_image(type, "moved", [](PairObjective& pair) { return pair.images().moved(); });
  define_weight(type, "fixed_mask", [](PairObjective& pair) { return pair.fixed_mask(); });
  define_weight(type, "moving_mask", [](PairObjective& pair) { return pair.moving_mask(); });
  define_weight(type, "weight", [](PairObjective& pair) { return pair.weight(); });
}

}  // namespace

void bind_registration(nb::module_& module) {
  using namespace nb::literals;
  const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
  module.def("refine", &refine, "pairs"_a, "schedule"_a, "pool"_a, "displacement"_a.none(), "template_field"_a.none(),
             "after"_a.none());
  module.def("scale_image", &scale_image, "image"_a, "mask"_a.none(), "blocks"_a);
  module.def("local_deviations", &local_deviations, "images"_a, "masks"_a, "sigma"_a);
  module.def("squared_local_correlation", &squared_local_correlation, "fixed"_a, "moved"_a, "radius"_a, "floor"_a,
             "out"_a, unlocked);
  module.def("locally_explained", &locally_explained, "fixed"_a, "moved"_a, "radius"_a, "out"_a, unlocked);
  module.def("count_folds", &count_folds, "field"_a, unlocked);
  module.def("smooth_folds", &smooth_folds, "field"_a, "allowed"_a, unlocked);
  module.def("repair_folds", &repair_folds, "candidate"_a, "field"_a, "determinants"_a, unlocked);
  bind_objective(module);
}

}  // namespace lightcrcf::python
