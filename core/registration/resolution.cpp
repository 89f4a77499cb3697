#include "registration/resolution.hpp"

#include "sampling/resample.hpp"
#include "sampling/upsample.hpp"

namespace lightcrcf {
namespace {

void multiply(float factor, Volume values) {
  for_parts(values.size(), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) values.data[n] *= factor;
  });
}

void divide(float divisor, Volume values) {
  for_parts(values.size(), [=](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) values.data[n] /= divisor;
  });
}

Shape blocks_of(const Shape& shape, const Pool& blocks) {
  Shape count;
  for (int axis = 0; axis < 3; ++axis) count[axis] = (shape[axis] + blocks[axis] - 1) / blocks[axis];
  return count;
}

// Return block means of a displacement, in voxels of the coarser grid.
FieldArray downsampled(const ConstField& field, const Pool& pool) {
  FieldArray out = make_field(3, blocks_of(shape_of(field), pool));
  for (int64_t c = 0; c < 3; ++c) {
    block_means_into(field[c], pool, out.view()[c]);
    divide(static_cast<float>(pool[c]), out.view()[c]);
  }
  return out;
}

// As `upsample`, where some axes keep their voxels.
void upsample_axes(const ConstField& coarse, const Pool& pool, const Field& out) {
  Mapping mapping{{}, {}, {}, {nullptr, {}}};
  for (int axis = 0; axis < 3; ++axis) {
    const double factor = static_cast<double>(pool[axis]);
    mapping.matrix[5 * axis] = 1.0 / factor;
    mapping.matrix[4 * axis + 3] = 0.5 / factor - 0.5;
  }
  for (int64_t c = 0; c < 3; ++c) {
    lightcrcf::resample_linear(coarse[c], mapping, 0.0f, out[c]);
    multiply(static_cast<float>(pool[c]), out[c]);
  }
}

FieldArray upsampled(const ConstField& coarse, const Shape& shape, const Pool& pool) {
  FieldArray out = make_field(3, shape);
  upsample_into(coarse, pool, out);
  return out;
}

}  // namespace

Pool factors(int64_t scale, const Pool& pool) {
  Pool found;
  for (int axis = 0; axis < 3; ++axis) found[axis] = pool[axis] == 2 ? scale : 1;
  return found;
}

Shape coarse_shape(const Shape& shape, int64_t scale, const Pool& pool) { return blocks_of(shape, factors(scale, pool)); }

void block_means_into(const ConstVolume& image, const Pool& blocks, const Volume& out) {
  const auto edge = [&](int axis) { return std::min(blocks[axis], image.shape[axis]); };
  lightcrcf::block_mean(image, BlockShape{edge(0), edge(1), edge(2)}, out);
}

void upsample_into(const ConstField& coarse, const Pool& pool, const Field& out) {
  if (pool == Pool{2, 2, 2}) {
    lightcrcf::upsample(coarse, out);
  } else {
    upsample_axes(coarse, pool, out);
  }
}

VolumeArray block_means(const ConstVolume& image, const Pool& blocks) {
  VolumeArray means = make_volume(blocks_of(shape_of(image), blocks));
  block_means_into(image, blocks, means);
  return means;
}

FieldArray upsample_to(FieldArray field, int64_t scale, int64_t target, const Shape& shape, const Pool& pool) {
  while (scale > target) {
    scale /= 2;
    field = upsampled(field, coarse_shape(shape, scale, pool), pool);
  }
  return field;
}

FieldArray resample_half(const ConstField& field, int64_t target, const Shape& shape, const Pool& pool) {
  if (target < 2) return upsampled(field, coarse_shape(shape, 1, pool), pool);
  if (target == 2) return copy_of(field);
  FieldArray coarse = downsampled(field, pool);
  for (int64_t scale = 4; scale < target; scale *= 2) coarse = downsampled(coarse, pool);
  return coarse;
}

}  // namespace lightcrcf
