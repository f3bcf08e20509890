"""Ways of several ranks to work together that are no collectives: joining early."""
