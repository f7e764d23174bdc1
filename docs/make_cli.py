#!/usr/bin/env python3
"""Write docs/cli.md from the program's own help; with --check only compare."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tlfeatures.cli import cli

TARGET = Path(__file__).with_name("cli.md")
INTRODUCTION = """# The command line

Made by `make docs` from the program's help; do not edit.

Results go to stdout, words and progress to stderr. `--json` prints exactly one JSON object on stdout;
fractions are 0..1, bad pictures are `bad[{path, reason}]`. Exit codes: 0 done (bad pictures are listed;
`--strict` makes them 1), 2 the words are wrong whatever the disk holds (option, backbone, layer),
1 anything else; one line says what to do, `tlfeatures --debug VERB ...` shows the traceback. Ctrl-C
leaves the cache whole; the same command goes on.

| verb | main JSON keys |
|---|---|
| `extract` | `pictures, computed, cached, bad[], specs[{layer, dim, key}], device, precision, kernels[], batch_size, jobs, images_per_s, seconds{total, start, extract, compile}, wait{decode, network, write}, chosen[], notes[{words, n_pictures, first}], remembered` (bad pictures known from earlier runs, not tried again); `pictures` = `computed` + `cached` + bad ones; a copy of a picture already coded counts as cached; `images_per_s` from the first chunk's beginning to the last one's end, `seconds.start` before that, `compile` (of our own operations) in it; `kernels` those that took part, of resizing and convolutions; `wait` in seconds of all processes together; `jobs` processes |
| `fit` | `classes[], protocol, n_train, n_test, bad[], backbone, weights_id, layer, key, heads{NAME: {accuracy, ci95[2], mean_recall, mean_recall_ci95[2], C}}, chosen, controls{NAME: {accuracy, ci95}}, warnings[], confounds[], learning_curve[], seconds{}, model` |
| `demo` | as `fit`, plus `report, sheet` |
| `predict` | `predictions[{path, label, probability, top[{label, probability}], given}], bad[]`; where pictures have labels (`given`) that the model knows also `accuracy, ci95[2], mean_recall, mean_recall_ci95[2], C, n_test, n_copies, accuracy_all, ci95_all[2], copies[], warnings[], head, backbone, key`; `accuracy` is null where only training pictures were given; exit code 1 where nothing could be predicted |
| `search` | `queries[{path, neighbours[{path, label, distance, copy}]}], bad[]`; `copy` is "file" (another file of the query's bytes), "pixels" (the same picture once decoded) or null; copies come first, beside the K neighbours; `bad` names bad queries and bad pictures of the folder; exit code 1 where no query could be answered |
| `finetune` | `classes[], protocol, n_train, n_valid, n_test, bad[], backbone, weights_id, layer, plan{recipe, source, optimizer, n_parameters, augmentation, seconds, phases[{name, n_epochs, schedule, groups[{name, n_parameters, rate, batch_norms, note}]}]}, epochs[{epoch, phase, train_loss, train_accuracy, valid_loss, valid_accuracy, rates{}, seconds}], best_epoch, baseline{accuracy, ci95[2], mean_recall, mean_recall_ci95[2]}, tuned{}, final{}, p_value, kept, valid_accuracy{}, warnings[], seconds{}, model` |
| `finetune --plan` | `recommendation, recommended_layer, cell{size, similarity}, rule, source, disagreeing[{source, says, why}], sentence, rival, rival_layer, experiment, minutes{STRATEGY}, protocol, size{verdict, by_count, curve_says, errors_removed, errors_to_win, n, n_classes, per_class, curve[{n, accuracy, standard_error}], slope, standard_error, n_test}, similarity{verdict, confidence_says, depth_says, relative_confidence, confidence, published, probes[{layer, depth, accuracy, ahead, standard_error}], missing{}, n}, scores{codes, probes{LAYER}}, backbone, layer, dim, key, n, bad[], warnings[], seconds{}, recipe, plan, phases[{name, n_epochs, rates{GROUP: rate}}], sheet{augmentation, input_size, columns, pictures[{path, label}], file}`; `recipe` and `plan` are null where no training is recommended and none was named; without `--plan`, where `--recipe auto` trains nothing, the keys of `fit` with `recommendation, rule, baseline, final, epochs, kept` |
| `look` | `pictures, bytes, classes[{name, pictures}], splits{}, groups, kinds{}, sides{smallest, median, largest}, n_deep, range, copies[{paths[], labels[], splits[], conflict}], bad[], left_out{}, notes[], estimate{backbone, seconds, ends, measured, bytes}, next[]`; `conflict` is labels, split, both or empty; `seconds` is null where nothing that tells was measured on this machine |
| `backbones list` | `backbones[{name, layer, dim, weights, parameters, gflop, top1, input_size, resize, licence, size_mb, file, on_disk, entries[]}], licences{}`; beside `name` the facts of the default entry |
| `backbones describe` | `name, input_shape[3], layers[{name, kind, shape[], values, parameters, multiply_adds}], totals{values, memory_bytes, parameters, weights, multiply_adds}, heavy{values, parameters, multiply_adds: [[layer, share]]}, default_layer, dim, head[], aliases{NAME: {layer, dim}}, names[], unused` |
| `backbones doctor` | `verdict` (right; BGR, 0-255, no mean/std, tf, caffe, imagenet, normalised twice, wrong input size, other; cannot tell), `words, applied{}, expected[], candidates[{name, input_size, batch_norm_distance, confidence, agreement, n_pictures, excluded}], n_pictures, bad[]`; null what was not measured |
| `cache info` | `cache, rows, bytes, folders[{folder, rows, shards, bytes, what, key, spec}], compiled{files, bytes}` |
| `cache verify` | `cache, folders, shards, rows, bytes, problems[{path, reason}]`; with `--repair` `cache, moved[], rescued, lost` |
| `cache gc` | `cache, dry_run, removed[], kept[], in_use[], compiled[{file, bytes}]` (operations of our own, and networks that earlier versions compiled, that went); `cache merge`: `cache, shards, rows, present, refused[]` |

In this version `confounds` and `learning_curve` are not examined and always empty.
"""


def commands(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    """The help of a command and of those below it, as Markdown."""
    context = click.Context(
        command,
        info_name=path.split()[-1],
        parent=parent,
        max_content_width=80,
        **command.context_settings,
    )
    context.terminal_width = 80
    yield f"## {path}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from commands(below, f"{path} {name}", context)


def main() -> int:
    text = "\n".join([INTRODUCTION, *commands(cli, "tlfeatures", None)])
    if "--check" in sys.argv:
        return int(not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
