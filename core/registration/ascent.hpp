// The update rule of a refinement: regularised compositive gradient ascent on the image similarity, at one level.
//
// Let u_k be the displacement after k steps, S(u) the similarity of the fixed image and the moving image warped by u, and
// grad S(u) its gradient with respect to a small displacement v that is applied first, u o (id + v). One step is
//
//   g_k     = G_force * grad S(u_k)                smoothed force
//   v_{k+1} = m v_k + s_k r_k g_k                  momentum m, step length s_k r_k in voxels
//   w       = G_field * (u_k o (id + v_{k+1}))     composed and smoothed; |v| is limited to `step` voxels
//   u_{k+1} = E(w)                                 volume changes evened out, folds repaired
//
// G are Gaussians, r_k = step / max(q99 |g_k|, force * unit) makes strong forces steps of `step` voxels and weak ones
// shorter steps, and s_k is halved after a step that lowered S, down to a quarter. Forces live on the fixed grid, and so
// does what is smoothed. What makes a field smooth, and why: docs/decisions/0016-smoothness.md.
//
// Source:
//   P. A. Yushkevich et al., "Fast automatic segmentation of hippocampal subfields and medial temporal lobe subregions in
//   3 Tesla and 7 Tesla T2-weighted MRI", Alzheimer's & Dementia 2016 (greedy: compositive steps with smoothed forces).
//   Momentum is B. T. Polyak's ("Some methods of speeding up the convergence of iteration methods", 1964). The limit on
//   the steps, the shorter ones after a fall of the objective and the repair of folds are this project's.
#pragma once

#include <vector>

#include "registration/objective.hpp"

namespace lightcrcf {

// Result of the steps at a level.
struct Ascent {
  FieldArray field;  // (3, D, H, W) voxels of the level
  double objective;  // of the field
  int64_t steps;     // that were taken
};

// Split the evening out of volumes by `volume` in all into steps that are stable. volume: finite.
std::vector<double> even_out_rates(double volume);

// The objective at one level, and the workspace that all steps share.
//
// Two buffers serve for all beside the field and the velocity: `work` holds the terms of the last objective, then the
// smoothed force, then the composed field; `spare` the raw force, then the field after the step, and the field before it
// once that is taken.
class LevelSolver {
 public:
  LevelSolver(const std::vector<Images>& pairs, const Level& level, const Pool& pool, const Watch& watch);

  // Take steps from a field, (3, D, H, W) voxels of this level, until they are done, the objective stalls, or the field
  // would fold.
  Ascent ascend(FieldArray field, const CandidateKind& kind);

  Objective& objective() { return objective_; }

 private:
  Ascent climb(FieldArray field);
  float smooth_force();
  double step_per_force(double strength) const;
  bool step(const ConstField& field);

  const Level& level_;
  const Watch& watch_;
  Objective objective_;
  FieldArray own_work_;  // where images and field have no grid in common
  Field work_;
  FieldArray spare_, velocity_;
  Array<float, 2> force_taps_, field_taps_;
};

}  // namespace lightcrcf
