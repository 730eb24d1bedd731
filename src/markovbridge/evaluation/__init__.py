"""What a trained model is worth, each figure with its floor.

| module | what it asks |
|---|---|
| `metrics` | how far samples are from data |
| `restoration`, `linear_restoration` | what draws given an observation say; the best linear |
| `expectations` | what a model expects of it, by one evaluation |
| `calibration`, `conformal` | whether such draws hold what they say; intervals that do |
| `differences` | whether groups of rows differ of which a part is drawn |
| `consistency` | whether a mean obeys what a mean must |
| `inspection` | what happens between source and data |
| `plots` | pictures of it: marginals, rates, paths |
| `held_out_likelihood` | nats on held-out data, beside the simplest model of all |
| `report` | one page of all of it |
"""

__all__: list[str] = []
