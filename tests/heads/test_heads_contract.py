"""The heads are scikit-learn classifiers."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tlfeatures.heads import KNNHead, LogisticHead, SVMHead

# a list, since scikit-learn 1.6 gives a generator, which new versions of pytest refuse
CONTRACT = parametrize_with_checks([SVMHead(), LogisticHead(), KNNHead()])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(CONTRACT.args[0], list(CONTRACT.args[1]), **CONTRACT.kwargs)
def test_scikit_learn_contract(estimator, check):
    """Every check that scikit-learn has for classifiers holds."""
    check(estimator)
