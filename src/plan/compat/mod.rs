//! What Dynamo's planner 0.9.0 would do.
