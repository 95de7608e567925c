"""How models are trained: experiments, the recipes behind `latentdiff train`, callbacks, devices, baselines."""
