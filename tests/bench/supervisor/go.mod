module sla-planner.example/bench/supervisor

go 1.26.0
