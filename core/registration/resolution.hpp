// Shapes and displacement fields at the levels of a refinement.
#pragma once

#include "affine/block_mean.hpp"
#include "registration/array.hpp"

namespace lightcrcf {

// Downsampling factors between two levels along each axis: 2, or 1 for an axis that is never pooled.
using Pool = std::array<int64_t, 3>;

// Return the factors between full resolution and `scale`.
Pool factors(int64_t scale, const Pool& pool);

// Return the shape of a grid at `scale`.
Shape coarse_shape(const Shape& shape, int64_t scale, const Pool& pool);

// Return means of blocks of voxels.
VolumeArray block_means(const ConstVolume& image, const Pool& blocks);

// The same into `out`, of their shape.
void block_means_into(const ConstVolume& image, const Pool& blocks, const Volume& out);

// Compute a displacement, (3, d, h, w) voxels, on a grid that is finer by `pool`, in voxels of that: (3, D, H, W).
void upsample_into(const ConstField& coarse, const Pool& pool, const Field& out);

// Return a displacement, (3, d, h, w) voxels, from `scale` at the finer `target`, in voxels of each.
//
// shape: of full resolution.
FieldArray upsample_to(FieldArray field, int64_t scale, int64_t target, const Shape& shape, const Pool& pool);

// The same from half resolution to a coarser or finer `target`.
FieldArray resample_half(const ConstField& field, int64_t target, const Shape& shape, const Pool& pool);

}  // namespace lightcrcf
