"""The heads are scikit-learn classifiers."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tlfeatures.heads import KNNHead, LogisticHead, SVMHead


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([SVMHead(), LogisticHead(), KNNHead()])
def test_scikit_learn_contract(estimator, check):
    """Every check that scikit-learn has for classifiers holds."""
    check(estimator)
