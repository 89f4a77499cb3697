// Levenberg-Marquardt optimisation of an affine, in both directions.
#pragma once

#include "registration/affine_system.hpp"

namespace lightcrcf {

// An affine from fixed to moving RAS mm, its cost (0 at best for the correlation), and the number of steps to it.
struct AffineFit {
  Matrix4 matrix;
  double cost;
  int iterations;
};

struct FitOptions {
  int freedom;          // number of leading generators: 3 translation, 6 rigid, 7 similarity, 12 affine
  int iterations;       // most steps, rejected ones included
  double tolerance_mm;  // stop when a step moves the foreground by less than about this
  double prior;         // weight of the squared logarithmic strain
  AffineMeasure measure = AffineMeasure::correlation;
};

// Minimise the cost of `affine_system` from `start`, whose number of steps is added to.
AffineFit fit_affine(const AffinePairs& pairs, const AffineFit& start, const FitOptions& options);

}  // namespace lightcrcf
