"""A sound plan for the tests that need one."""

PLAN = """\
aggregator:
  template: federation.engine.aggregator.Aggregator
  settings:
    rounds_to_train: 3
collaborator:
  template: federation.engine.collaborator.Collaborator
assigner:
  template: federation.engine.assigner.CohortAssigner
  settings:
    task_groups:
      - {name: everyone, percentage: 1.0, tasks: [validate_aggregate, train]}
tasks:
  validate_aggregate: {function: validate_task}
  train: {function: train_task}
data_loader:
  template: workspace.learning.data_loader.ShardDataLoader
task_runner:
  template: workspace.learning.task_runner.FineTuning
  settings:
    experiment: keyword_spotting
    learning_rate: 1e-3
federation:
  settings: {envoys: 3, dataset: speech_commands, classes: [yes, no], seed: 7}
"""
