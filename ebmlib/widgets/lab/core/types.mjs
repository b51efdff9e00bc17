/**
 * The words that the core and the view share. This file holds types only.
 *
 * Points are interleaved, `[x0, y0, x1, y1, ...]`, in a Float64Array. Fields on the grid
 * have the first coordinate slowest: cell (i, j) is number `i * bins + j`, as in
 * `ebmlib.grid.Grid`. Everything is float64, and lives in the square [-1, 1]^2.
 *
 * @typedef {"exact" | "cd" | "persistent" | "shortrun"} Method
 *   exact: every cell of the grid, weighed by the model. cd: chains that start at data.
 *   persistent: chains that go on. shortrun: chains that start at uniform noise.
 * @typedef {"relu" | "leaky_relu" | "softplus" | "tanh"} Activation
 * @typedef {"lines" | "he" | "torch"} Init  as `ebmlib.energy.mlp`; he: normal, no shift
 * @typedef {"constant" | "cosine"} Schedule
 *
 * @typedef {object} Side  One model and how it learns.
 * @property {Method} method
 * @property {number} steps        Langevin steps in a training step
 * @property {number} step         Langevin step size s, in the units of x
 * @property {number} temperature  T: chains aim at exp(-E / T)
 * @property {number} chains       how many; not used by "exact"
 * @property {number} width1       neurons of the first hidden layer
 * @property {number} width2       of the second; 0: there is none
 * @property {Activation} activation
 * @property {Init} init
 * @property {number} prior        sd of the Gaussian reference at 0; 0: flat
 * @property {number} lr
 * @property {Schedule} schedule   over `horizon` steps
 * @property {number} horizon
 * @property {number} batch        data points in a training step; 0: all
 *
 * @typedef {object} ViewConfig  What is on show: no influence on training.
 * @property {string} show       "density" | "log_density" | "energy" | "difference" | "truth"
 * @property {string[]} layers   of "contours", "data", "chains", "forces", "lines", "modes"
 * @property {number} speed      at most so many updates a frame
 *
 * @typedef {object} Config  Everything that the address holds.
 * @property {string} data       a name of DENSITIES, "drawn", or "given" (by Python)
 * @property {string} drawing    the drawn picture (see density.mjs), or ""
 * @property {number} points     how many data
 * @property {number} bins       cells a side
 * @property {number} seed
 * @property {Side} a
 * @property {Side | null} b     the second side of a comparison
 * @property {ViewConfig} view
 *
 * @typedef {object} Option  One entry of a schema: what a control may offer.
 * @property {string} key        short name in the address
 * @property {string} label      for a control
 * @property {string} help       a sentence on hover or focus
 * @property {any[]} [values]    allowed values, in order (numbers: a slider; words: a list)
 * @property {[number, number]} [range]  whole numbers from, to (seed)
 * @property {RegExp} [pattern]  text (drawing)
 * @property {boolean} [many]    a subset of `values` (layers)
 * @property {any} initial       default
 * @property {boolean} [live]    may change while a model trains; else a reset is needed
 * @property {string} [unit]
 * @property {Record<string, string>} [names]  how a word is shown
 *
 * @typedef {object} Preset
 * @property {string} id
 * @property {string} title
 * @property {string} sentence   what it lets one see
 * @property {number} updates    how many it takes until it is seen
 * @property {Config} config
 *
 * @typedef {object} Density  A density on the plane that the data come from.
 * @property {string} name
 * @property {string} title
 * @property {(x: number, y: number) => number} logDensity  -Infinity where there is none
 * @property {(count: number, uniform: () => number, normal: () => number) => Float64Array}
 *   sample   points in the square (what falls outside is drawn again)
 *
 * @typedef {object} Grid
 * @property {number} bins
 * @property {number} width          side of a cell
 * @property {number} logCell        log of its area
 * @property {Float64Array} axis     cell centres along one side
 * @property {Float64Array} points   all centres, interleaved
 *
 * @typedef {object} Field  What a model is on the grid.
 * @property {Float64Array} energy
 * @property {Float64Array} logProb  log-density, normalised on the square
 * @property {Float64Array} prob     mass of each cell
 * @property {number} logZ
 * @property {number} entropy
 * @property {number} kl             KL(truth || model) in nats; NaN if the truth is unknown
 *
 * @typedef {object} Truth
 * @property {Float64Array} logProb  normalised on the grid
 * @property {Float64Array} prob
 * @property {number} entropy        the floor: -entropy is the best log-likelihood
 *
 * @typedef {object} Problem  What both sides of a comparison share.
 * @property {Config} config
 * @property {Grid} grid
 * @property {Float64Array} data     interleaved
 * @property {Float64Array} share    share of the data in each cell
 * @property {Truth | null} truth    null for data "given" without a density
 * @property {Density | null} density
 *
 * @typedef {object} Network
 * @property {number[]} widths       [2, width1, (width2,) 1]
 * @property {Activation} activation
 * @property {number} priorSd        0: flat
 * @property {Float64Array} theta    per layer: weight row by row, then bias
 *
 * @typedef {object} Entry
 * @property {number} step
 * @property {number} kl
 * @property {number} logLikelihood
 * @property {number} dataEnergy
 * @property {number} sampleEnergy
 * @property {number} gradNorm
 *
 * @typedef {object} History  One entry an update, of the model before it. When it is full,
 *   every other entry is dropped and only every `every`-th update is kept from then on.
 * @property {number} length
 * @property {number} every
 * @property {Float64Array} step          updates made before
 * @property {Float64Array} kl            NaN where the truth is unknown
 * @property {Float64Array} logLikelihood mean over all data, nats
 * @property {Float64Array} dataEnergy    mean over the data
 * @property {Float64Array} sampleEnergy  weighted mean over the negative points
 * @property {Float64Array} gradNorm      Euclidean
 * @property {() => void} clear
 * @property {(entry: Entry) => void} add
 *
 * @typedef {object} Chains  The negative points of the last training step that ran chains.
 * @property {number} count
 * @property {Float64Array} points     where they ended (or are, in slow motion)
 * @property {number} trailCount       the first so many chains leave a trail
 * @property {number} trailLength      places in each trail so far, the start included
 * @property {Float64Array} trail      place t of chain c: trail[2 * (t * trailCount + c)]
 *
 * @typedef {object} Stop  Why training stopped by itself.
 * @property {number} step       updates made before
 * @property {string} message    what happened and what to try, in a sentence or two
 *
 * @typedef {object} LabEvent  What slow motion just did.
 * @property {"chains" | "push" | "pull" | "update"} kind
 *   chains: one Langevin step (number `done` of `total`). push: the data term's gradient is
 *   known (`trainer.push()`). pull: the negative term's (`trainer.pull()`). update: the
 *   parameters have changed.
 * @property {number} [done]
 * @property {number} [total]
 *
 * @typedef {object} Trainer
 * @property {Problem} problem
 * @property {Side} side
 * @property {Network} network        live: theta changes as it learns
 * @property {number} count           updates made
 * @property {History} history
 * @property {Chains} chains
 * @property {Stop | null} stopped    set when numbers were no longer finite; the network then
 *   holds the last good parameters; `seek` and `reset` clear it
 * @property {() => Field} field      of the present parameters; computed once for each
 * @property {() => boolean} step     one whole update; false when it is stopped
 * @property {(budgetMs: number, most?: number) => number} advance  works so long, for at most
 *   `most` updates; returns how many it finished. One that does not fit goes on in the next
 *   call.
 * @property {() => LabEvent | null} next   on to the next event; null when it is stopped
 * @property {() => Float64Array} push  after "push": rate at which the data term changes the
 *   energy on the grid (a step of plain gradient descent of size 1)
 * @property {() => Float64Array} pull  the same for the negative term
 * @property {(points: Float64Array, out?: Float64Array) => Float64Array} force  -dE/dx
 * @property {(side: Side) => boolean} configure  change live options; false: make a new one
 * @property {() => void} reset       to the seed's beginning
 * @property {() => number[]} snapshots  counts that `seek` can go back to, ascending
 * @property {(count: number) => number} seek  to the last snapshot at or before `count`;
 *   later ones stay until training goes on from there; returns the snapshot's count
 *
 * @typedef {object} Lab  One or two trainers that go in step.
 * @property {Config} config
 * @property {Problem} problem
 * @property {Trainer} a
 * @property {Trainer | null} b
 * @property {Trainer[]} trainers
 * @property {number} count           updates that every trainer has made
 * @property {(budgetMs: number, most?: number) => number} advance  at most `most` updates
 * @property {() => boolean} step     one update of each; false when all are stopped
 * @property {() => void} reset
 * @property {() => number[]} snapshots
 * @property {(count: number) => number} seek
 * @property {(config: Config) => boolean} configure  false: make a new lab
 */

export {};
